"""A NETWORK. (height, width, channels) and a number of classes -> keras.Model.

In: raw pixels in [0, 255]; only the model scales. Out: probabilities, a row an image, each row summing to 1.
Stock Keras layers only, so that a saved model opens in plain Keras.
To add one: a builder in textbook.py, resnet.py or a new file, and a line in `catalog.MODELS`.
"""
