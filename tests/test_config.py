"""Every setting is checked once, all together, and printed back whole."""

from __future__ import annotations

import inspect
import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest

from iconoclass.cli import learn
from iconoclass.config import FORMAT, SECTION_OF, SECTIONS, AugmentConfig, Config, allowed_words
from iconoclass.errors import ConfigError, UsageError

SETTINGS = sorted(SECTION_OF)
NUMBERS = [
    name
    for name in SETTINGS
    if any(kind in str(SECTIONS[SECTION_OF[name]].model_fields[name].annotation) for kind in ("int", "float"))
]
EVERYTHING: dict[str, Any] = {
    **{"source": "photos", "image_size": (96, 128), "resize": "pad", "color": "rgb", "validation": "test"},
    **{"validation_split": 0.15, "test_split": 0.25, "split_seed": 3, "max_bad": 0.1, "allow_outside": True},
    **{"fold": "2/5", "together": "none"},
    **{"decisions": "decisions.csv", "group_by": "folder:2", "strict": True},
    **{"model": "mlp", "width": 64, "dropout": 0.25, "recipe": "fast", "epochs": 7, "batch_size": 31},
    **{"views": "shifted", "budget": 90.0, "target": 0.9},
    **{"optimizer": "sgd", "lr": 0.125, "momentum": 0.5, "weight_decay": 0.01, "schedule": "cosine"},
    **{"label_smoothing": 0.125, "average": 0.99, "patience": 4, "balance": "sampler", "one_hot": True},
    **{"alpha": 0.5, "weights": "imagenet", "unfreeze": 0.5, "monitor": "macro_f1"},
    **{"precision": "float32", "log": "tensorboard", "checkpoint_s": 5.0, "seed": 2**32 - 1, "workers": 2},
    **{"flip": 0.5, "shift": 0.125, "rotate": 15.0, "zoom": 0.25, "brightness": 0.5, "contrast": 0.375},
    **{"cutout": 0.25, "mixup": 0.5, "cutmix": 1.0},
}


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.read(written(folder, text))
    assert caught.value.exit_status == 3
    return str(caught.value)


def test_one_word_means_one_setting_in_all_sections() -> None:
    names = [name for section in SECTIONS.values() for name in section.model_fields]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_says_what_it_is(name: str) -> None:
    description = SECTIONS[SECTION_OF[name]].model_fields[name].description
    assert description
    assert description.endswith(".")


def test_every_setting_survives_the_way_through_a_file(tmp_path: Path) -> None:
    assert EVERYTHING.keys() == SECTION_OF.keys(), "a new setting belongs into this test"
    config = Config.of(**EVERYTHING)
    assert config.flat() == EVERYTHING
    assert Config.read(written(tmp_path, config.toml())) == config


def test_what_is_not_chosen_is_not_written(tmp_path: Path) -> None:
    config = Config.of(source="digits")
    assert "epochs" not in tomllib.loads(config.toml())["training"]
    assert Config.read(written(tmp_path, config.toml())) == config


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Config.of(source="digits", epochs=0, batch_size=-1, lr=0, image_size="7", flip=2, colour="grey")
    for word in ("epochs=0", "batch_size=-1", "lr=0", "image_size=7", "flip=2", "'colour'", "Did you mean 'color'"):
        assert word in str(caught.value)


def test_all_that_is_wrong_in_a_file_is_said_at_once(tmp_path: Path) -> None:
    """C9: key path, nearest valid key, wrong section, wrong type."""
    said = refusal(
        tmp_path,
        'seed = 3\n[data]\nsource = "digits"\nepochs = 3\n[trainning]\nlr = 1\n'
        "[training]\nlearning_rate = 1\nepochs = 0\n",
    )
    assert str(tmp_path / "config.toml") in said
    assert "the setting 'seed' belongs below [training]" in said
    assert "the setting 'epochs' belongs below [training], not below [data]" in said
    assert "there is no section [trainning]. Did you mean 'training'?" in said
    assert "[training] has no setting 'learning_rate'" in said
    assert "epochs=0" in said


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1", "true", '"many"', "[]", "{}"])
def test_what_is_no_number_in_its_range_is_refused(name: str, value: str, tmp_path: Path) -> None:
    """C9: wrong types, NaN and 1e999."""
    section = f"[{SECTION_OF[name]}]\n" if SECTION_OF[name] != "data" else ""
    assert f"{name}=" in refusal(tmp_path, f'[data]\nsource = "x"\n{section}{name} = {value}\n')


@pytest.mark.parametrize("name", [name for name in SETTINGS if allowed_words(name)])
def test_a_setting_of_a_few_words_names_them_and_the_nearest(name: str) -> None:
    for word in allowed_words(name):
        assert Config.of(**{"source": "x", name: word}).flat()[name] == word
    first = allowed_words(name)[0]
    with pytest.raises(UsageError, match=f"Did you mean '{first}'"):
        Config.of(**{"source": "x", name: first + "x"})


@pytest.mark.parametrize(
    "text",
    ["not toml", '[data]\nsource = "a"\nsource = "b"\n', "[data]\nsource = 'x'\n[training]\nlr = 1e\n", "\x00"],
)
def test_what_is_not_toml_is_refused_with_the_name_of_the_file(text: str, tmp_path: Path) -> None:
    """C9: duplicate keys too."""
    assert "config.toml" in refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            Config.read(path)


@pytest.mark.parametrize("format_", [str(FORMAT + 1), '"one"', "nan"])
def test_a_file_of_a_newer_version_is_refused_and_says_so(format_: str, tmp_path: Path) -> None:
    """C10."""
    said = refusal(tmp_path, f'format = {format_}\n[data]\nsource = "x"\n')
    assert "newer" in said
    assert str(FORMAT) in said


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbf[data]\nsource = "digits"\n')
    assert Config.read(path).data.source == "digits"


def test_the_data_must_be_named(tmp_path: Path) -> None:
    assert "source: field required. Received: nothing" in refusal(tmp_path, "[training]\nepochs = 3\n")


def test_settings_given_beside_a_file_replace_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, '[data]\nsource = "digits"\n[training]\nepochs = 3\nlr = 0.5\n')
    config = Config.read(path, epochs=9, lr=None)
    assert (config.training.epochs, config.training.lr) == (9, 0.5)


@pytest.mark.parametrize("size", [96, "96", "96x96", [96], [96, 96], (96, 96)])
def test_a_size_is_written_in_any_of_the_usual_ways(size: Any) -> None:
    assert Config.of(source="x", image_size=size).data.image_size == (96, 96)


def test_of_a_size_the_height_comes_first() -> None:
    assert Config.of(source="x", image_size="96x128").data.image_size == (96, 128)


@pytest.mark.parametrize(
    "size", ["96x", "x", "", "7", "8x1025", "96x96x3", "big", -96, 0, [], [96, 96, 3], "9.5", None]
)
def test_what_is_no_size_is_refused(size: Any) -> None:
    """L2: in words that say the range or the form."""
    if size is None:
        assert Config.of(source="x", image_size=None).data.image_size is None
        return
    with pytest.raises(UsageError, match="image_size"):
        Config.of(source="x", image_size=size)


@pytest.mark.parametrize(("share", "value"), [("10%", 0.1), (" 12.5 %", 0.125), (0.1, 0.1), ("0.1", 0.1)])
def test_a_share_is_a_number_or_a_percentage(share: Any, value: float) -> None:
    assert Config.of(source="x", validation_split=share).data.validation_split == pytest.approx(value)


@pytest.mark.parametrize("share", ["10", "0%", "100%", "ten%", "%", 1.0, 0])
def test_what_is_no_share_that_leaves_both_sides_something_is_refused(share: Any) -> None:
    with pytest.raises(UsageError, match="validation_split"):
        Config.of(source="x", validation_split=share)


def test_a_configuration_cannot_be_changed_only_copied() -> None:
    config = Config.of(source="digits", epochs=3)
    with pytest.raises(ValueError, match="frozen"):
        config.training.epochs = 4  # type: ignore[misc]
    assert config.with_settings(epochs=4).training.epochs == 4
    assert config.training.epochs == 3


# -- the command line has the same settings ------------------------------------------------------------------------


def test_every_option_of_train_is_exactly_one_setting_and_every_setting_has_one() -> None:
    options = inspect.signature(learn.train).parameters.keys() - learn.NOT_SETTINGS
    assert options == SECTION_OF.keys() - {"source"}, "the data's source is the verb's argument"


def test_what_preview_can_be_asked_for_train_can_be_asked_for_by_the_same_name() -> None:
    options = inspect.signature(learn.preview).parameters.keys() - {"data", "output", "images", "offline"}
    assert options <= SECTION_OF.keys()
    assert options >= AugmentConfig.model_fields.keys()


def test_no_option_of_train_has_a_default_of_its_own() -> None:
    """Else the command line would say something else than the library, and a config file could not be completed."""
    parameters = inspect.signature(learn.train).parameters
    assert all(parameters[name].default is None for name in SECTION_OF.keys() - {"source"})


def test_pairs_of_settings_do_not_disturb_each_other() -> None:
    for first, second in itertools.islice(
        itertools.combinations(sorted(EVERYTHING.keys() - {"source"}), 2), 0, None, 7
    ):
        config = Config.of(source="x", **{name: EVERYTHING[name] for name in (first, second)})
        assert (config.flat()[first], config.flat()[second]) == (EVERYTHING[first], EVERYTHING[second])


def test_what_follows_from_another_model_or_optimizer_is_decided_anew(tmp_path: Path) -> None:
    """A run's config.toml holds everything that was decided; `--model mlp` must not trip over the width of a resnet."""
    path = tmp_path / "config.toml"
    decided = Config.of(
        source="digits", model="resnet", width=32, optimizer="sgd", lr=1.2, momentum=0.85, epochs=8, flip=0.5, seed=3
    )
    path.write_text(decided.toml(), encoding="utf-8")
    assert Config.read(path) == decided
    assert Config.read(path, model="resnet", optimizer="sgd") == decided
    other = Config.read(path, model="mlp", optimizer="adam", lr=0.01)
    assert other.model.width is None
    assert other.training.momentum is None
    assert other.training.lr == 0.01
    assert other.training.epochs == 8
    path.write_text(Config.of(source="x", model="mobilenetv2", alpha=0.35, weights="a.h5").toml(), encoding="utf-8")
    assert Config.read(path, model="mobilenet").model.weights is None
    assert Config.read(path, weights="b.h5").model.alpha is None
    path.write_text(decided.toml(), encoding="utf-8")
    again = Config.read(path, recipe="textbook")
    assert again.training.epochs is None
    assert again.augment.flip is None
    assert again.training.seed == 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5s", 1.5),
        ("5m", 300),
        ("1h", 3600),
        ("1h30m", 5400),
        ("2M5S", 125),
    ],
)
def test_a_budget_is_a_time_as_people_write_it(text: str, seconds: float) -> None:
    assert Config.of(source="x", budget=text).training.budget == seconds


def test_another_budget_decides_the_epochs_anew_and_other_epochs_end_a_budget(tmp_path: Path) -> None:
    path = written(tmp_path, Config.of(source="digits", epochs=3).toml())
    assert Config.read(path, budget=60).training.epochs is None
    path = written(tmp_path, Config.of(source="digits", budget=60).toml())
    assert Config.read(path, epochs=3).training.budget is None
    assert Config.read(path).training.budget == 60


def test_whole_epochs_stay_whole_numbers() -> None:
    assert "epochs = 3\n" in Config.of(source="digits", epochs=3.0).toml()
    assert "epochs = 2.5\n" in Config.of(source="digits", epochs=2.5).toml()
