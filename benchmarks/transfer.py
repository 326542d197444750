"""Photos with a pretrained backbone: ours, against the plain Keras of the tutorials and a plain logistic regression.

    python benchmarks/transfer.py PHOTOS WEIGHTS [--rounds 3] [--seed 0] [--divisions 0]

PHOTOS holds train/ and test/, each with a folder a class; WEIGHTS is a file for MobileNetV2 of alpha 0.35. All three
learn from train/ and are judged on test/, each in fresh processes with an empty cache, one after the other in turns:

- ours: `iconoclass train PHOTOS --weights WEIGHTS`, which also checks every file, draws and writes a report;
- keras: image_dataset_from_directory, flips and rotations, the frozen backbone, dropout and a dense layer, 10 epochs
  of Adam at 1e-4 in batches of 32, as the transfer learning guide on tensorflow.org has it;
- logistic: scikit-learn's logistic regression (scaled features, C = 1) on what the same backbone makes of our pixels.

Learning is, for ours, features, head and their cross-validation; for keras, its fit; for logistic, features and fit.

A hundred test pictures cannot tell two good heads apart. --divisions N puts the photos of both parts together, divides
them anew N times, classes and sizes as they were, and has heads learn from the same features each time: ours with a
tenth set aside, as a training does; scikit-learn's from the same pictures as ours, and from that tenth as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE, ALPHA = 224, 0.35


def ours(photos: Path, weights: Path, seed: int) -> dict[str, float]:
    """In this process, as the command line does it."""
    import iconoclass as ic

    with tempfile.TemporaryDirectory() as output:
        run = ic.train(photos, weights=weights, seed=seed, output=output)
        seconds = run.summary["training_seconds"]
        return {"accuracy": run.metrics["test"]["accuracy"]["value"], "learning_s": sum(seconds.values())}


def plain_keras(photos: Path, weights: Path, seed: int) -> dict[str, float]:
    import keras

    keras.utils.set_random_seed(seed)
    settings: dict[str, Any] = {"image_size": (SIDE, SIDE), "batch_size": 32, "seed": seed, "verbose": False}
    train, test = (keras.utils.image_dataset_from_directory(photos / part, **settings) for part in ("train", "test"))
    base = _backbone(weights)
    base.trainable = False
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.RandomRotation(0.2)(keras.layers.RandomFlip("horizontal")(inputs))
    x = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(x), training=False)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(len(train.class_names), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    model.fit(train.cache().prefetch(2), epochs=10, verbose=0)
    learning_s = time.perf_counter() - began
    return {"accuracy": float(model.evaluate(test, verbose=0)[1]), "learning_s": learning_s}


def logistic(photos: Path, weights: Path, seed: int) -> dict[str, float]:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import iconoclass as ic

    data = ic.load_dataset(photos, image_size=SIDE)
    base = _backbone(weights)

    def features(pixels: Any) -> Any:
        return base.predict(pixels.astype(np.float32) / 127.5 - 1, batch_size=32, verbose=0)

    began = time.perf_counter()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))
    model.fit(features(data.train.pixels), data.train.labels)
    learning_s = time.perf_counter() - began
    accuracy = model.score(features(data.test.pixels), data.test.labels)
    return {"accuracy": float(accuracy), "learning_s": learning_s}


def heads(photos: Path, weights: Path, divisions: int) -> None:
    """Prints what our head and scikit-learn's get right, over so many divisions of all photos."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import iconoclass as ic
    from iconoclass.training.transfer import fit_head

    data = ic.load_dataset(photos, image_size=SIDE)
    pixels = np.concatenate([data.train.pixels, data.test.pixels])
    labels = np.concatenate([data.train.labels, data.test.labels])
    base, classes = _backbone(weights), len(data.class_names)

    def features(seen: Any) -> Any:
        return base.predict(seen.astype(np.float32) / 127.5 - 1, batch_size=32, verbose=0)

    views = [features(pixels), features(pixels[:, :, ::-1])]
    names = [*data.train.names, *data.test.names]
    sha256 = [*data.train.sha256, *data.test.sha256]
    whole = ic.Split(pixels, np.arange(len(labels)), labels, names, sha256, sha256)
    right: dict[str, list[float]] = {"ours": [], "logistic": [], "logistic, all": []}
    for seed in range(divisions):
        given, judged = train_test_split(
            np.arange(len(labels)), test_size=len(data.test), random_state=seed, stratify=labels
        )
        some, _ = train_test_split(given, test_size=0.1, random_state=seed, stratify=labels[given])
        head = fit_head(
            [view[some] for view in views], whole.only(some), classes, seed, is_balanced=False, looks_twice=False
        )
        answers = head.probabilities([views[0][judged]]).argmax(axis=1)
        right["ours"].append(float((answers == labels[judged]).mean()))
        for name, learned in (("logistic", some), ("logistic, all", given)):
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            model.fit(views[0][learned], labels[learned])
            right[name].append(float(model.score(views[0][judged], labels[judged])))
    print(
        f"{divisions} divisions into {len(given)} photos, {len(given) - len(some)} of them set aside, and {len(judged)}"
    )
    for name, values in right.items():
        lead = 100 * np.subtract(right["ours"], values)
        won, level, lost = (lead > 0).sum(), (lead == 0).sum(), (lead < 0).sum()
        counts = f"{won} won, {level} level, {lost} lost"
        ahead = f"   ours {lead.mean():+.2f} points (deviation {lead.std(ddof=1):.2f}); {counts}"
        print(f"{name:<14} {np.mean(values):.2%}{ahead if name != 'ours' else ''}")


def _backbone(weights: Path) -> Any:
    import keras

    base = keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), alpha=ALPHA, include_top=False, weights=None, pooling="avg"
    )
    base.load_weights(weights)
    return base


CONTENDERS: dict[str, Callable[[Path, Path, int], dict[str, float]]] = {
    "ours": ours,
    "keras": plain_keras,
    "logistic": logistic,
}


def timed(name: str, photos: Path, weights: Path, seed: int) -> dict[str, float]:
    """One contender in a process of its own, with a cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "ICONOCLASS_CACHE": cache, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, str(photos), str(weights), "--only", name, "--seed", str(seed)]
        began = time.perf_counter()
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        whole_s = time.perf_counter() - began
    return {**json.loads(answer.stdout.splitlines()[-1]), "whole_s": whole_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--divisions", type=int, default=0, help="of all photos, to compare the heads on; nothing else")
    given = parser.parse_args()
    if given.divisions:
        heads(given.photos, given.weights, given.divisions)
        return
    if given.only:
        print(json.dumps(CONTENDERS[given.only](given.photos, given.weights, given.seed)))
        return
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for seed in range(given.seed, given.seed + given.rounds):
        for name, told in rows.items():
            told.append(timed(name, given.photos, given.weights, seed))
            print(name, seed, told[-1], file=sys.stderr, flush=True)
    print(f"{'':<10} {'accuracy':>9} {'learning':>10} {'whole':>9}   times ours: learning, whole")
    medians = {
        name: {key: statistics.median(row[key] for row in told) for key in told[0]} for name, told in rows.items()
    }
    for name, told in rows.items():
        accuracy = statistics.mean(row["accuracy"] for row in told)
        ratios = [medians[name][key] / medians["ours"][key] for key in ("learning_s", "whole_s")]
        print(
            f"{name:<10} {accuracy:>9.1%} {medians[name]['learning_s']:>8.1f} s {medians[name]['whole_s']:>7.1f} s"
            f"   {ratios[0]:>19.2f}, {ratios[1]:.2f}"
        )


if __name__ == "__main__":
    main()
