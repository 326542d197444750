"""One image through every stage. Read this test first: it is the whole of Iconoclass."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.config import Config
from iconoclass.data.batches import Batches
from iconoclass.images.decode import decode
from iconoclass.images.resize import resize
from iconoclass.prediction.certainty import temper


def test_one_image_makes_its_whole_journey(photos: Path, tmp_path: Path) -> None:
    # A picture on disk becomes pixels: uint8 (height, width, channels).
    picture = photos / "red" / "00.png"
    pixels = resize(decode(picture, channels=3), 16, 16, "crop")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (16, 16, 3)

    # The folder becomes a data set, and our picture is in exactly one of its splits, with the same pixels.
    data = ic.load_dataset(photos, image_size=16)
    assert data.class_names == ["blue", "red"]
    homes = [split for split in data.splits.values() if "red/00.png" in split.names]
    assert len(homes) == 1
    position = homes[0].names.index("red/00.png")
    assert np.array_equal(homes[0].pixels[position], pixels)
    assert data.class_names[homes[0].labels[position]] == "red"

    # Batches go over the training part once an epoch, in an order that only (seed, epoch) decides.
    batches = Batches(data.train, classes=2, batch_size=8, seed=0, strengths={})
    assert sum(len(batch.pixels) for batch in batches.epoch(0)) == len(data.train)

    # A training makes a run: a folder with everything in it.
    run = ic.train(data, model="resnet", width=8, epochs=25, seed=0, output=tmp_path / "runs")
    assert run.is_complete
    assert [row["epoch"] for row in run.history] == list(range(1, 26))
    assert Config.read(run.path / "config.toml") == run.config

    # It is judged on pictures that it has not seen, and every number comes with its interval.
    accuracy = run.metrics["test"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert accuracy["value"] >= 0.9, "red and blue are easily told apart"
    with (run.path / "predictions.csv").open(encoding="utf-8") as file:
        judged = [row for row in csv.DictReader(file) if row["image"] == "red/00.png"]
    assert len(judged) == 1

    # Asked about the file, the trained model says what the judgement says: same decoding, same resizing, same weights.
    predictor = ic.Predictor.load(run.path)
    [answer] = predictor.predict(picture)
    assert answer.class_name == judged[0]["predicted"]
    assert answer.confidence == pytest.approx(float(judged[0]["confidence"]), abs=1e-5)

    # Path, bytes, PIL image and array are one question with one answer.
    with Image.open(picture) as opened:
        asked = [str(picture), picture.read_bytes(), opened.copy(), np.asarray(opened)]
    assert {other.class_name for other in predictor.predict(asked)} == {answer.class_name}
    assert [other.confidence for other in predictor.predict(asked)] == pytest.approx([answer.confidence] * 4)

    # The command line gives the same answer.
    command = [sys.executable, "-m", "iconoclass", "predict", str(run.path), str(picture), "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert said["class_name"] == answer.class_name
    assert said["confidence"] == pytest.approx(answer.confidence, abs=1e-6)


def test_the_model_opens_in_plain_keras_where_iconoclass_cannot_be_imported(run: ic.Run) -> None:
    """Raw pixels in, probabilities out, and the same ones as ours."""
    data = ic.load_dataset("digits")
    ours = ic.Predictor.load(run.path).probabilities(data.test.pixels[:32])
    code = f"""
import sys
sys.modules["iconoclass"] = None  # any import of it fails
import keras, numpy, sklearn.datasets
model = keras.models.load_model({str(run.model_path)!r})
pixels = numpy.load({str(run.path / "pixels.npy")!r})
numpy.save({str(run.path / "answers.npy")!r}, model.predict(pixels, verbose=0))
"""
    np.save(run.path / "pixels.npy", data.test.pixels[:32])
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    theirs = np.load(run.path / "answers.npy")
    assert np.allclose(theirs.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(temper(theirs, run.temperature), ours, atol=1e-5)
