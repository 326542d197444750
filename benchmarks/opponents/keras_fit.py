"""Opponent: the convolutional network of the TensorFlow tutorials, trained with Keras's own fit.

    python keras_fit.py DATA [--seed 0] [--epochs 12]

Three convolutions, Adam, batches of 32, no augmentation: what a newcomer is taught, and what many stay with.
"""

from __future__ import annotations

import argparse
import os

from pictures import Clock, options, read

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras import layers


def build(shape: tuple[int, ...]) -> keras.Model:
    network = keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return network


def main() -> None:
    clock = Clock()
    asked = options(argparse.ArgumentParser(description=__doc__), epochs=12)
    keras.utils.set_random_seed(asked.seed)
    pictures = read(asked.data, asked.limit)
    train, test = (pixels.astype("float32") / 255 for pixels in (pictures.train_pixels, pictures.test_pixels))
    network = build(train.shape[1:])

    def judge(epoch: int, _: object) -> None:
        with clock.stopped():
            _, accuracy = network.evaluate(test, pictures.test_labels, batch_size=500, verbose=0)
        clock.tell(epoch + 1, accuracy)

    watcher = keras.callbacks.LambdaCallback(on_epoch_end=judge)
    network.fit(train, pictures.train_labels, batch_size=32, epochs=asked.epochs, callbacks=[watcher], verbose=0)


if __name__ == "__main__":
    main()
