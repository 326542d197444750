"""Flask with `model.predict`, as in a hundred tutorials, but behind gunicorn with a process a core."""

import os
import sys

sys.path.append(os.environ["RIVALS"])  # beside TensorFlow, which is in the other environment

import numpy as np
from asked import decoded, told
from flask import Flask, request
from gunicorn.app.base import BaseApplication

app = Flask(__name__)
model = None


@app.post("/predict")
def predict():
    global model
    if model is None:
        import keras

        model = keras.saving.load_model(os.environ["KERAS_MODEL"], compile=False)
    pixels = decoded(request.get_data(), model.input_shape[1:])
    return told(np.asarray(model.predict(pixels[None], verbose=0)[0]))


class Gunicorn(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", f"127.0.0.1:{sys.argv[1]}")
        self.cfg.set("workers", os.cpu_count())
        self.cfg.set("timeout", 120)

    def load(self):
        return app


if __name__ == "__main__":
    Gunicorn().run()
