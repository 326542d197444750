"""Transfer: features once, the best head on them, then the top of the backbone; nothing is chosen by test pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, Split, load_dataset, open_dataset
from iconoclass.errors import EnvironmentFault, UsageError
from iconoclass.models.catalog import build
from iconoclass.models.pretrained import BACKBONE, LOGITS
from iconoclass.models.weights import decide
from iconoclass.run import Run
from iconoclass.training import trainer
from iconoclass.training.learner import Learner, prepare
from iconoclass.training.progress import Listener
from iconoclass.training.recipes import complete
from iconoclass.training.transfer import Eye, Head, _together, fit_head, learn_head

SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the smallest backbone, whose batch norm has seen some noise: features that tell colours."""
    keras.utils.set_random_seed(0)
    model = build("mobilenet", (SIDE, SIDE, 3), 2, alpha=0.25)
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    model.get_layer(BACKBONE).save_weights(path)
    return path


@pytest.fixture
def data(photos: Path) -> Dataset:
    return load_dataset(photos, image_size=SIDE)


def prepared(data: Dataset, weights: Path, **settings: Any) -> tuple[Learner, Eye]:
    config = decide(Config.of(source="x", weights=str(weights), **settings), None)
    learner = prepare(data, complete(config, data))
    eye = Eye(learner)
    learn_head(learner, eye)
    return learner, eye


def trained(data: Dataset, weights: Path, folder: Path, **settings: Any) -> tuple[Learner, Run]:
    learner, run = prepared(data, weights, **settings)[0], Run.create(folder, "x")
    return trainer.train(learner, run, Listener()), run


# -- the whole way -------------------------------------------------------------------------------------------------


def test_a_training_with_weights_fits_the_head_and_is_judged(photos: Path, weights: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = ic.train(photos, weights=weights, image_size=SIDE, output=tmp_path / "runs", say=said.append)
    assert run.name == "photos-mobilenet"
    assert [row["epoch"] for row in run.history] == [0]
    assert run.metrics["test"]["accuracy"]["value"] > 0.8
    plan = next(text for text in said if "\n" in text)
    assert "mobilenet of alpha 0.25 on 64 x 64 colour" in plan
    assert "by 5-fold cross-validation" in plan
    again = ic.train(config=run.path / "config.toml", output=tmp_path / "runs")
    assert again.predictions_path.read_bytes() == run.predictions_path.read_bytes()
    row = run.history[0]
    assert row["val_loss"] == pytest.approx(run.metrics["validation"]["loss"]["value"], abs=1e-4)


def test_another_runs_folder_gives_its_backbone(photos: Path, weights: Path, tmp_path: Path) -> None:
    """Its top has learned something, which is taken over; the mirrored model has it one level down."""
    settings = {"image_size": SIDE, "output": tmp_path / "runs"}
    first = ic.train(photos, weights=weights, epochs=1, lr=1e-2, views="mirrored", name="first", **settings)
    second = ic.train(photos, weights=first.path, name="second", **settings)
    assert (second.config.model.model, second.config.model.alpha) == ("mobilenet", 0.25)
    assert second.config.model.weights == str(first.path.absolute())
    backbones = []
    for run in (first, second):
        model = keras.saving.load_model(run.model_path, compile=False)
        model = model if run is second else model.get_layer("mobilenet")
        backbones.append(model.get_layer(BACKBONE).get_weights())
    assert all(map(np.array_equal, *backbones))


def test_photographs_get_a_backbone_at_224_pixels_and_small_pictures_do_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for at in range(4):
            Image.fromarray(random.integers(0, 256, (130, 160, 3), dtype=np.uint8)).save(
                tmp_path / "large" / name / f"{at}.jpg"
            )
    config = Config.of(source=str(tmp_path / "large"))
    sizes = {wanted: open_dataset(config.data, for_backbone=wanted) for wanted in (None, True, False)}
    assert {wanted: data.image_shape[:2] for wanted, data in sizes.items()} == {
        None: (224, 224), True: (224, 224), False: (96, 96),
    }  # fmt: skip
    assert [data.are_photos for data in sizes.values()] == [True, True, False]
    assert complete(Config.of(source="x", weights="none"), sizes[None]).model.model == "mobilenetv2"
    assert complete(Config.of(source="x"), sizes[False]).model.model == "resnet"


def test_offline_photographs_without_weights_are_an_environment_fault_before_keras_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for at in range(3):
            Image.new("RGB", (200, 200), (at, 0, 0 if name == "a" else 99)).save(
                tmp_path / "large" / name / f"{at}.png"
            )
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EnvironmentFault, match="ImageNet weights of mobilenetv2 of alpha 1 are not here") as caught:
        ic.train(tmp_path / "large", offline=True, output=tmp_path / "runs")
    assert caught.value.exit_status == 4
    assert not (tmp_path / "runs").exists()


def test_without_weights_a_backbone_learns_from_nothing_in_the_ordinary_loop(data: Dataset, tmp_path: Path) -> None:
    asked = Config.of(source="x", model="mobilenet", alpha=0.25, weights="none", epochs=1)
    whole = complete(asked, data)
    assert (whole.training.recipe, whole.training.optimizer) == ("fast", "adamw")
    learner = trainer.train(prepare(data, whole), Run.create(tmp_path, "x"), Listener())
    assert len(learner.model.trainable_variables) == 83, "all of it learns"
    assert [row["epoch"] for row in learner.history] == [1]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"recipe": "transfer", "model": "resnet"}, "needs a backbone with weights"),
        ({"recipe": "transfer", "model": "mobilenet", "weights": "none"}, "needs a backbone with weights"),
        ({"unfreeze": 0.5, "model": "resnet"}, "unfreeze has no effect with the recipe fast"),
        ({"alpha": 0.5, "model": "resnet"}, "the model 'resnet' has no alpha"),
        ({"weights": "x.h5", "model": "resnet"}, "weights are for backbones"),
    ],
)
def test_what_transfer_cannot_do_is_refused(settings: dict[str, Any], complaint: str, data: Dataset) -> None:
    with pytest.raises(UsageError, match=complaint):
        complete(Config.of(source="x", **settings), data)


# -- features ------------------------------------------------------------------------------------------------------


def test_features_are_computed_once(
    data: Dataset, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))
    first, second = (prepared(data, weights)[1] for _ in range(2))
    assert first.computed == first.asked == 2 * len(data.train) + len(data.validation)
    assert second.computed == 0
    assert "all from the cache" in second.said()
    assert prepared(data, weights, flip=0)[1].asked == len(data.train) + len(data.validation)


def test_a_picture_that_joins_changes_one_run_of_features() -> None:
    digests = np.sort(np.array([f"{number * 7919 % 65536:04x}" for number in range(2000)], "S64"))
    runs = [digests[some] for some in _together(digests)]
    assert np.array_equal(np.concatenate(runs), digests)
    assert len(runs) == 16
    more = np.sort(np.append(digests, np.array(["0100"], "S64")))
    changed = [not np.array_equal(run, more[some]) for run, some in zip(runs, _together(more), strict=True)]
    assert sum(changed) == 1


def test_the_kept_model_answers_as_the_head_did_on_features(data: Dataset, weights: Path, tmp_path: Path) -> None:
    for views in ("one", "mirrored"):
        learner, run = trained(data, weights, tmp_path, views=views)
        kept = keras.saving.load_model(run.model_path, compile=False)
        eye = Eye(learner)
        kernel, bias = learner.model.get_layer(LOGITS).get_weights()
        looks = eye.views(data.test, views == "mirrored")
        expected = Head(kernel, bias, 1.0).probabilities(looks)
        assert np.allclose(kept.predict(data.test.pixels, verbose=0), expected, atol=1e-4)


def test_whoever_loads_the_kept_model_finds_nothing_frozen(data: Dataset, weights: Path, tmp_path: Path) -> None:
    kept = keras.saving.load_model(trained(data, weights, tmp_path)[1].model_path, compile=False)
    assert all(layer.trainable for layer in kept.get_layer(BACKBONE).layers)


def test_copies_of_a_picture_are_looked_at_once(data: Dataset, weights: Path) -> None:
    _, eye = prepared(data, weights)
    part = data.train
    twice = np.repeat(np.arange(len(part)), 2)
    doubled = part.only(twice)
    eye.asked = 0
    found = eye.features(doubled, False)
    assert eye.asked == len(part)
    assert np.array_equal(found, eye.features(part, False)[twice])


# -- the head ------------------------------------------------------------------------------------------------------


def clouds(count: int, classes: int, width: int, seed: int, noise: float = 3.0) -> tuple[Any, Split]:
    """Features of overlapping classes, and a split that says whose they are."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).astype(np.int32)
    centres = np.random.default_rng(9).normal(size=(classes, width))
    features = np.maximum(centres[labels] + noise * random.normal(size=(count, width)), 0).astype(np.float32)
    names = [f"{seed}-{at}" for at in range(count)]
    return features, Split(np.zeros((count, 8, 8, 3), np.uint8), np.arange(count), labels, names, names, [""] * count)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_head_is_no_worse_than_a_plain_logistic_regression(classes: int) -> None:
    """On the same features, by pictures that neither has seen; scikit-learn's as people use it: scaled, C = 1."""
    gained = []
    for seed in range(3):
        features, split = clouds(200, classes, 100, seed)
        unseen, others = clouds(2000, classes, 100, seed + 100)
        head = fit_head([features], split, classes, seed, is_balanced=False, looks_twice=False)
        scaler = StandardScaler().fit(features)
        plain = LogisticRegression(max_iter=1000).fit(scaler.transform(features), split.labels)
        ours = (head.probabilities([unseen]).argmax(1) == others.labels).mean()
        gained.append(ours - plain.score(scaler.transform(unseen), others.labels))
    assert min(gained) > -0.005
    assert np.mean(gained) > 0


def test_the_head_is_the_same_each_time_and_folds_its_scaling_in() -> None:
    features, split = clouds(120, 3, 40, 0)
    one, other = (fit_head([features], split, 3, 0, is_balanced=False, looks_twice=False) for _ in range(2))
    assert np.array_equal(one.kernel, other.kernel)
    assert np.array_equal(one.bias, other.bias)
    moved = fit_head([features * 50 + 7], split, 3, 0, is_balanced=False, looks_twice=False)
    assert np.allclose(moved.probabilities([features * 50 + 7]), one.probabilities([features]), atol=1e-3)


def test_what_belongs_together_is_never_on_both_sides_of_a_fold() -> None:
    """Twins in noise: learned by heart, they would make weak regularisation look perfect."""
    features, split = clouds(60, 2, 300, 0, noise=30.0)
    twins = np.repeat(np.arange(60), 2)
    both = Split(split.source, twins, split.labels[twins], list(twins), [split.sha256[at] for at in twins], [""] * 120)
    head = fit_head([features[twins]], both, 2, 0, is_balanced=False, looks_twice=False)
    assert head.accuracy < 0.75
    grouped = Split(
        split.source, twins, split.labels[twins], [""] * 120, [str(at) for at in range(120)], list(map(str, twins))
    )
    assert fit_head([features[twins]], grouped, 2, 0, is_balanced=False, looks_twice=False).accuracy < 0.75


def test_a_class_of_one_picture_is_learned_without_cross_validation() -> None:
    features, split = clouds(9, 9, 20, 0, noise=0.1)
    head = fit_head([features], split, 9, 0, is_balanced=False, looks_twice=False)
    assert head.folds == 0
    assert (head.probabilities([features]).argmax(1) == split.labels).all()


def test_balance_lets_a_rare_class_count_as_much() -> None:
    features, split = clouds(400, 2, 20, 0, noise=4.0)
    few = np.flatnonzero((split.labels == 0) | (np.arange(400) % 20 == 1))
    lopsided = split.only(few)
    found = [
        (
            fit_head([features[few]], lopsided, 2, 0, is_balanced=is_balanced, looks_twice=False)
            .probabilities([features]).argmax(1)[split.labels == 1] == 1
        ).mean()
        for is_balanced in (False, True)
    ]  # fmt: skip
    assert found[1] > found[0] + 0.2


# -- the second stage ----------------------------------------------------------------------------------------------


def test_fine_tuning_changes_the_top_and_leaves_the_rest_and_batch_norm_bit_for_bit(
    data: Dataset, weights: Path, tmp_path: Path
) -> None:
    """RIVALS 22: batch norm that learns from a few batches is how fine-tuning fails."""
    learner, _ = prepared(data, weights, epochs=2, lr=1e-3)
    layers = [layer for layer in learner.model.get_layer(BACKBONE).layers if layer.weights]
    before = [layer.get_weights() for layer in layers]
    trainer.train(learner, Run.create(tmp_path, "x"), Listener())
    # The model holds the last weights, whichever were the best.
    is_same = [all(map(np.array_equal, old, layer.get_weights())) for old, layer in zip(before, layers, strict=True)]
    first = round(0.7 * len(layers))
    for place, (layer, same) in enumerate(zip(layers, is_same, strict=True)):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        assert same == (place < first or is_norm), layer.name
    assert [row["epoch"] for row in learner.history] == [0, 1, 2]


def test_the_head_alone_is_kept_unless_fine_tuning_was_better(data: Dataset, weights: Path, tmp_path: Path) -> None:
    """Three epochs at a rate that spoils everything."""
    learner, run = trained(data, weights, tmp_path, epochs=3, lr=10.0, optimizer="sgd", momentum=0.0)
    assert trainer.best_epoch(learner.history) == 0
    kept = keras.saving.load_model(run.model_path, compile=False)
    plain, _ = trained(data, weights, tmp_path)
    assert all(map(np.array_equal, kept.get_weights(), plain.best))


def test_one_seed_gives_the_same_weights(data: Dataset, weights: Path, tmp_path: Path) -> None:
    first, second, other = (
        trained(data, weights, tmp_path, epochs=1, seed=seed)[0].model.get_weights() for seed in (1, 1, 2)
    )
    assert all(map(np.array_equal, first, second))
    assert not all(map(np.array_equal, first, other))


@pytest.mark.slow
def test_a_budget_is_kept_by_the_head_and_what_follows(photos: Path, weights: Path, tmp_path: Path) -> None:
    run = ic.train(photos, weights=weights, image_size=SIDE, budget=60, output=tmp_path)
    assert run.summary["seconds"] < 63
    assert run.config.training.budget is None
    assert run.history[0]["epoch"] == 0
    assert len(run.history) > 1


def test_a_budget_that_is_too_short_for_the_head_says_which_would_do(
    data: Dataset, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="too short for photos") as caught:
        ic.train(data, weights=weights, budget=0.5, output=tmp_path)
    assert "--budget" in caught.value.hint


# -- the real thing ------------------------------------------------------------------------------------------------


@pytest.mark.datasets
def test_photographs_of_cats_and_dogs_are_told_apart(big_data: Path, tmp_path: Path) -> None:
    [file] = (big_data.parent / "weights").glob("mobilenet_v2_alpha0.35*.weights.h5")
    run = ic.train(big_data / "cats_dogs", weights=file, output=tmp_path)
    assert (run.config.model.model, run.config.model.alpha) == ("mobilenetv2", 0.35)
    assert run.metrics["test"]["accuracy"]["value"] >= 0.94
