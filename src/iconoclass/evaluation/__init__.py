"""JUDGING. A run and its data -> Report: metrics with intervals, one row a picture, plots.

evaluator.py asks the model, metrics.py scores, plots.py draws, report.py writes.
To add a metric: a function in metrics.py and a line in `METRICS`. A plot: a function in plots.py, called in report.py.
"""
