"""A recipe decides what was left open, never what was chosen, and nothing is asked for in vain."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.config import AugmentConfig, Config
from iconoclass.data.dataset import Dataset, Split
from iconoclass.errors import UsageError
from iconoclass.models.catalog import MODELS
from iconoclass.models.pretrained import BACKBONES
from iconoclass.training.optimizers import OPTIMIZERS, SCHEDULES
from iconoclass.training.recipes import RECIPES, complete, fill_their_frames


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return ic.load_dataset("digits")


@pytest.fixture(scope="module")
def things() -> Dataset:
    """200 pictures of cats and dogs, as far as a recipe can tell."""
    pixels = np.zeros((200, 8, 8, 3), np.uint8)
    parts = {"train": range(160), "validation": range(160, 180), "test": range(180, 200)}
    splits = {
        name: Split(
            pixels,
            np.array(rows),
            np.array(rows, np.int32) % 2,
            [str(row) for row in rows],
            ["0" * 64 for _ in rows],
            ["" for _ in rows],
        )
        for name, rows in parts.items()
    }
    config = Config.of(source="things", image_size=8, color="rgb").data
    return Dataset(config, "things", ["cat", "dog"], **splits, has_mirror_images=True)


def completed(dataset: Dataset, **settings: Any) -> Config:
    return complete(Config.of(source="digits", **settings), dataset)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recipes_leave_nothing_open(recipe: str, model: str, optimizer: str, digits: Dataset) -> None:
    if recipe == "transfer" and model not in BACKBONES:
        with pytest.raises(UsageError, match="needs a backbone"):
            completed(digits, recipe=recipe, model=model)
        return
    whole = completed(digits, recipe=recipe, model=model, optimizer=optimizer)
    without_meaning = {"budget", "target", "decisions", "group_by", "fold"}
    without_meaning |= set() if optimizer in {"sgd", "muon"} else {"momentum"}
    without_meaning |= {"width", "dropout", "alpha"} - set(MODELS[model].options)
    without_meaning |= set() if model in BACKBONES else {"weights"}
    without_meaning |= {"epochs"} if recipe == "transfer" else {"unfreeze"}
    assert {name for name, value in whole.flat().items() if value is None} == without_meaning
    assert "auto" not in whole.flat().values()
    assert whole.training.recipe == recipe


def suited(recipe: str) -> str:
    """A network that the recipe can train."""
    return "mobilenet" if recipe == "transfer" else "convnet"


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_complete_is_completed_to_itself(recipe: str, digits: Dataset) -> None:
    """So a run's config.toml repeats it."""
    whole = completed(digits, recipe=recipe, model=suited(recipe))
    assert complete(whole, digits) == whole


CHOSEN: dict[str, Any] = {
    **{"epochs": 3, "batch_size": 17, "lr": 0.0625, "weight_decay": 0.03125, "schedule": "cosine"},
    **{"label_smoothing": 0.0625, "average": 0.5, "patience": 9, "precision": "float32", "seed": 5, "dropout": 0.375},
    **dict.fromkeys(AugmentConfig.model_fields, 0.25),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", CHOSEN)
def test_what_the_user_sets_stays_set(name: str, recipe: str, digits: Dataset) -> None:
    settings = {"optimizer": "adamw", name: CHOSEN[name]}
    assert completed(digits, recipe=recipe, model=suited(recipe), **settings).flat()[name] == CHOSEN[name]


@pytest.mark.parametrize("name", ["weight_decay", "label_smoothing", "average", "patience", "shift", "flip", "dropout"])
def test_0_is_a_choice_too(name: str, things: Dataset) -> None:
    assert completed(things, recipe="fast", model="convnet", **{name: 0}).flat()[name] == 0


def test_digits_and_text_are_not_mirrored_unless_that_is_asked_for(digits: Dataset, things: Dataset) -> None:
    assert completed(things, recipe="fast").augment.flip == 0.5
    assert completed(digits, recipe="fast").augment.flip == 0
    assert completed(digits, recipe="fast", flip=0.5).augment.flip == 0.5


def test_pictures_that_are_seen_a_few_times_are_seen_as_they_are(things: Dataset) -> None:
    shown = {epochs: completed(things, recipe="fast", epochs=epochs).augment for epochs in (0.5, 4.9, 5, 20)}
    assert [(one.flip, one.shift) for one in shown.values()] == [(0, 0), (0, 0), (0.5, 0.0625), (0.5, 0.0625)]
    assert completed(things, recipe="fast", epochs=1, flip=0.3).augment.flip == 0.3


def test_things_that_fill_their_frames_are_not_moved_out_of_them() -> None:
    random = np.random.default_rng(0)
    on_ground, wide = np.full((2, 20, 12, 12, 3), 255, np.uint8)
    on_ground[:, 2:10, 2:10] = random.integers(0, 200, (20, 8, 8, 3))
    wide[:, 3:9] = random.integers(0, 200, (20, 6, 12, 3))
    photos = random.integers(0, 256, (20, 12, 12, 3), np.uint8)
    assert [fill_their_frames(pixels) for pixels in (on_ground, wide, photos)] == [False, True, False]
    half = np.concatenate([on_ground, wide[:15]])
    assert not fill_their_frames(half)


def test_the_textbook_changes_no_picture(things: Dataset) -> None:
    assert set(completed(things, recipe="textbook").augment.model_dump().values()) == {0}


@pytest.mark.parametrize("model", MODELS)
def test_a_network_is_trained_by_its_own_recipe_unless_another_is_named(model: str, digits: Dataset) -> None:
    assert completed(digits, model=model).training.recipe == MODELS[model].recipe
    if model in BACKBONES:
        assert completed(digits, model=model, weights="none").training.recipe == "fast"
    assert completed(digits, model=model, recipe="textbook").training.recipe == "textbook"


def test_unequal_classes_weigh_alike_and_are_judged_by_macro_f1(digits: Dataset, things: Dataset) -> None:
    """Where the largest has more than twice the pictures of the smallest."""

    def decided(labels: Any, **settings: Any) -> tuple[str, str]:
        part = things.train
        train = Split(part.source, part.rows, labels, part.names, part.sha256, part.groups)
        training = completed(dataclasses.replace(things, train=train), **settings).training
        return training.balance, training.monitor

    twice, more = ((np.arange(160) < count).astype(np.int32) for count in (106, 107))
    assert decided(things.train.labels) == ("none", "accuracy")
    assert decided(twice) == ("none", "accuracy")
    assert decided(more) == ("weights", "macro_f1")
    assert decided(more, balance="none") == ("none", "macro_f1")
    assert decided(more, balance="sampler", monitor="accuracy") == ("sampler", "accuracy")
    assert decided(things.train.labels, balance="sampler") == ("sampler", "accuracy")


def test_small_sets_get_more_epochs_and_smaller_batches(digits: Dataset, things: Dataset) -> None:
    few, more = completed(things).training, completed(digits).training
    assert (few.epochs, few.batch_size) == (100, 16)
    assert (more.epochs, more.batch_size) == (100, 80)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"momentum": 0.9, "optimizer": "adam"}, "momentum has no effect with adam"),
        ({"momentum": 0.9, "model": "mlp"}, "momentum has no effect with adam"),
        ({"weight_decay": 0.1, "optimizer": "muon", "model": "convnet"}, "weight_decay has no effect with muon"),
        ({"views": "mirrored"}, "mirrored views make no sense for digits"),
        ({"views": "shifted", "recipe": "transfer"}, "shifted views make no sense for photographs"),
        ({"budget": 60, "epochs": 2}, "exclude each other"),
        ({"budget": 60, "workers": 2}, "workers cannot keep to a budget"),
        ({"workers": 2, "recipe": "transfer", "model": "mobilenet"}, "where only the head is fitted"),
        ({"workers": 50, "batch_size": 40}, "of 39 pictures, the least that are shared, 50 workers cannot"),
        ({"width": 8, "model": "mlp"}, "the model 'mlp' has no width"),
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"recipe": "fats"}, "Did you mean 'fast'"),
        ({"model": "convnet3"}, "Did you mean 'convnet-3'"),
    ],
)
def test_what_would_have_no_effect_or_is_unknown_is_refused(
    settings: dict[str, Any], complaint: str, digits: Dataset
) -> None:
    with pytest.raises(UsageError, match=complaint):
        completed(digits, **settings)


def test_all_that_would_have_no_effect_is_named_at_once(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="momentum") as caught:
        completed(digits, momentum=0.9, width=8, model="mlp")
    assert "no width" in str(caught.value)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_be_chosen(name: str, digits: Dataset) -> None:
    assert completed(digits, schedule=name).training.schedule == name
