"""ANSWERING. A run and images -> class names with probabilities.

`predictor.Predictor.load(path).predict(images)` is the one way to ask a trained model.
To add a runtime: a loader in runtimes.py and a line in `RUNTIMES`.
"""
