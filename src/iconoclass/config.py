"""Every setting, as frozen and typed models: TOML or keywords in, checked once and all together, printed back whole.

A setting that is None has not been chosen: the data, the network or the recipe decides it before training starts
(`training.recipes.complete`), so that the `config.toml` of a run never leaves anything open.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from iconoclass.errors import ConfigError, IconoclassError, UsageError, did_you_mean

MOST_FOLDS = 100
FORMAT = 1  # of config.toml; raised when an old file could be misread


def _parse_size(value: Any) -> Any:
    """96, "96", "96x128" or [96, 128] as (height, width)."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        if not all(part.strip().isdigit() for part in parts):
            raise ValueError("must be a side in pixels, such as 96, or height x width, such as 96x128")
        value = [int(part) for part in parts]
    if isinstance(value, int):
        value = [value]
    return (value[0], value[0]) if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _parse_share(value: Any) -> Any:
    """0.1 or "10%"."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    return value


def _parse_duration(value: Any) -> Any:
    """90, "90s", "5m", "1h" or "1h30m" as seconds."""
    if not isinstance(value, str):
        return value
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", value.strip().lower())
    if not parts or not any(parts.groups()):
        raise ValueError("must be a time such as 90s, 5m or 1h30m")
    return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))


def _parse_path(value: Any) -> Any:
    """A path, or the text of one."""
    return str(value) if isinstance(value, Path) else value


def _checked_grouping(value: str) -> str:
    """folder:2, name:REGEX or column:NAME."""
    way, _, what = value.partition(":")
    if way == "folder" and what.isdecimal() and int(what) >= 1:
        return value
    if way == "column" and what.strip():
        return value
    if way == "name":
        try:
            groups = re.compile(what).groups
        except re.error as error:
            raise ValueError(f"must hold a regular expression after name:, and this is none: {error}") from None
        if groups != 1:
            raise ValueError(f"must have one pair of brackets round what names the group, and has {groups}")
        return value
    raise ValueError(r"must be folder:2 (a level of the path), name:(patient\d+) or column:patient (of a CSV)")


def _checked_fold(value: str) -> str:
    """2/5: of five folds, the second."""
    parts = re.fullmatch(r"(\d+)/(\d+)", value.strip())
    if not parts or not 1 <= int(parts[1]) <= int(parts[2]) or not 2 <= int(parts[2]) <= MOST_FOLDS:
        raise ValueError(f"must be which fold of how many, such as 2/5; {MOST_FOLDS} at most")
    return value.strip()


def _whole_if_it_is(value: Any) -> Any:
    # The command line gives 3.0 where 3 was typed.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Side = Annotated[int, Field(ge=8, le=1024)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_parse_size)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_parse_share)]
Fold = Annotated[str, AfterValidator(_checked_fold)]
Grouping = Annotated[str, AfterValidator(_checked_grouping)]
OpenFraction = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_parse_share)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python counts True as 1: `epochs = true` would train one epoch.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("must not be true or false")
        return value


class DataConfig(Section):
    source: str = Field(description="A data set's name, or a folder, CSV, .npz or archive.")
    image_size: Size | None = Field(None, description="Side in pixels, or height x width; 8 to 1024.")
    resize: Literal["crop", "pad", "squash"] = Field("crop", description="How a picture is brought to that size.")
    color: Literal["grey", "rgb"] | None = Field(None, description="Channels: grey if all pictures are, else rgb.")
    validation: Literal["split", "test"] = Field("split", description="What chooses: a split of train, or test.")
    validation_split: OpenFraction = Field(0.1, description="Share of train that chooses.")
    test_split: OpenFraction = Field(0.2, description="Share judged, if there is no test part.")
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Another split of the same pictures.")
    fold: Fold | None = Field(None, description="2/5: of five folds of the pictures, the second is judged.")
    together: Literal["alike", "none"] = Field(
        "alike", description="What no split divides: groups, copies, look-alikes, bursts; none: as if all stood alone."
    )
    max_bad: Fraction = Field(0.01, description="Share of unreadable files up to which training goes on.")
    allow_outside: bool = Field(False, description="A CSV may name pictures outside its own folder.")
    decisions: str | None = Field(None, description="A decisions.csv of `iconoclass check`: who is left out or moved.")
    group_by: Grouping | None = Field(None, description="What must not be divided: folder:2, name:REGEX, column:NAME.")
    strict: bool = Field(False, description="Leaks, one picture under two classes, and files that change are errors.")


class ModelConfig(Section):
    model: str | None = Field(None, description="The network: see `iconoclass models`; auto: as large as pays.")
    width: Annotated[int, Field(ge=4, le=1024)] | None = Field(None, description="Filters of the first block.")
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="Dropout before the last layer.")
    alpha: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] | None = Field(
        None, description="Width multiplier of a MobileNet: 0.35 to 1.4, as it has been pretrained."
    )
    weights: Annotated[str, BeforeValidator(_parse_path)] | None = Field(
        None, description="Of a backbone: imagenet, none, a weights file, or the folder of another run."
    )
    views: Literal["one", "mirrored", "shifted"] = Field(
        "one",
        description="mirrored: the kept model looks at each picture and at its mirror image, and averages; shifted: "
        "also moved by a pixel to either side, six looks in all.",
    )


class TrainingConfig(Section):
    recipe: str | None = Field(None, description="Defaults for all below: textbook, fast or transfer.")
    epochs: Annotated[int | float, Field(gt=0, le=100_000), BeforeValidator(_whole_if_it_is)] | None = Field(
        None, description="Passes over the training part; the last one may be broken off, as in 2.5."
    )
    budget: Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False), BeforeValidator(_parse_duration)] | None = Field(
        None, description="Time for all, from start to judged model: 90s, 5m, 1h. Decides the epochs."
    )
    target: Annotated[float, Field(gt=0, lt=1), BeforeValidator(_parse_share)] | None = Field(
        None, description="Stop once validation accuracy is surely above this: its interval's lower end."
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = Field(None, description="Images a step.")
    optimizer: str | None = Field(None, description="adam, adamw, muon or sgd.")
    lr: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = Field(
        None, description="Learning rate at its highest."
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Nesterov momentum, of sgd and muon."
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Decoupled; of kernels, never of biases or batch norm."
    )
    schedule: str | None = Field(None, description="constant, cosine, linear, triangular or plateau.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Share of a label given to all classes alike."
    )
    average: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Decay a step of the averaged weights that are kept; 0: none."
    )
    patience: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Stop after so many epochs without a better one; 0: never."
    )
    balance: Literal["auto", "none", "weights", "sampler"] = Field(
        "auto",
        description="Rare classes weigh more, or are drawn more often; auto: weights, where sizes differ twofold.",
    )
    monitor: Literal["auto", "accuracy", "macro_f1"] = Field(
        "auto", description="Compares the epochs, on validation; auto: macro_f1, where class sizes differ twofold."
    )
    unfreeze: Fraction | None = Field(
        None, description="Share of a backbone's layers, from the top, that learn after the head; 0: the head alone."
    )
    one_hot: bool = Field(False, description="One-hot labels and categorical cross-entropy; the same result.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the arithmetic in training; auto: as the recipe and the processor allow."
    )
    checkpoint_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        30.0, description="Seconds between checkpoints; more of them, if they take more than 2 % of the time."
    )
    log: Literal["none", "tensorboard"] = Field("none", description="tensorboard: event files in the run folder.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Of weights, order and augmentation.")
    workers: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Processes that learn together, each with its slice of every batch; more than one need Ray."
    )


class AugmentConfig(Section):
    """Strengths, each 0 (off) or more; what each one means is said at its function in images/augment.py."""

    flip: Fraction | None = Field(None, description="Share of images mirrored, every epoch others.")
    shift: Annotated[float, Field(ge=0, le=0.5)] | None = Field(None, description="Up to this share of the side.")
    rotate: Annotated[float, Field(ge=0, le=180)] | None = Field(None, description="Up to so many degrees.")
    zoom: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="Scale by up to 1 ± this.")
    brightness: Fraction | None = Field(None, description="Scaled by up to 1 ± this.")
    contrast: Fraction | None = Field(None, description="Scaled about the mean by up to 1 ± this.")
    cutout: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="Side of a greyed square, as a share.")
    mixup: Annotated[float, Field(ge=0, le=10)] | None = Field(None, description="Alpha of the blend of two images.")
    cutmix: Annotated[float, Field(ge=0, le=10)] | None = Field(None, description="Alpha of the patch from another.")


class Config(Section):
    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    augment: AugmentConfig = AugmentConfig()

    @classmethod
    def of(cls, **settings: Any) -> Config:
        """The configuration of settings by their plain names, which are the options' names too; None: not chosen.

        Raises: UsageError, which names every setting that is wrong.

        >>> Config.of(source="digits", epochs=3).training.epochs
        3
        """
        return cls._checked({name: value for name, value in settings.items() if value is not None}, UsageError, "")

    @classmethod
    def read(cls, path: Path, **settings: Any) -> Config:
        """The configuration of a TOML file; settings, where given, replace those of the file.

        Where another model, recipe or optimizer is given, what follows from it in the file is decided anew.

        Raises: ConfigError, which names every key that is wrong.
        """
        flat: dict[str, Any] = {}
        content, problems = _parse_toml(path), []
        made_by = content.pop("format", FORMAT)
        if not isinstance(made_by, int) or made_by > FORMAT:
            what = f"{path} was made by a newer Iconoclass: it has format {made_by}, this one reads {FORMAT}"
            raise ConfigError(what, hint="Update with pip install -U iconoclass.")
        for section, values in content.items():
            if section not in SECTIONS or not isinstance(values, dict):
                problems.append(_unknown_section(section))
                continue
            for key, value in values.items():
                if SECTION_OF.get(key) == section:
                    flat[key] = value
                else:
                    problems.append(_unknown_key(section, key))
        given = {name: value for name, value in settings.items() if value is not None}
        for name, followers in FOLLOWERS.items():
            if given.get(name, flat.get(name)) != flat.get(name):
                flat = {key: value for key, value in flat.items() if key not in followers}
        return cls._checked(flat | given, ConfigError, f"{path}: ", problems)

    @classmethod
    def _checked(
        cls, flat: Mapping[str, Any], error: type[IconoclassError], where: str, problems: Sequence[str] = ()
    ) -> Config:
        """problems: what is already known to be wrong, to be said together with what is found now."""
        sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        problems = list(problems)
        for name, value in flat.items():
            if name in SECTION_OF:
                sections[SECTION_OF[name]][name] = value
            else:
                problems.append(f"there is no setting '{name}'. {did_you_mean(name, SECTION_OF)}")
        try:
            config = cls.model_validate(sections)
        except ValidationError as invalid:
            problems += _describe(invalid)
        if problems:
            raise error(where + "\n  ".join(problems))
        return config

    def with_settings(self, **settings: Any) -> Config:
        """The same configuration with some settings replaced by their plain names."""
        return Config.of(**{**self.flat(), **settings})

    def flat(self) -> dict[str, Any]:
        """Every setting by its plain name."""
        return {name: value for section in SECTIONS for name, value in getattr(self, section)}

    def toml(self) -> str:
        sections = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps({"format": FORMAT, **sections})


SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "augment": AugmentConfig,
}
# Plain names are unique over the sections (a test holds us to it), so that one word means one thing everywhere.
SECTION_OF = {name: section for section, fields in SECTIONS.items() for name in fields.model_fields}

# What another choice of the first leaves without meaning, as a run's config.toml holds everything that was decided.
FOLLOWERS = {
    "model": {"width", "dropout", "alpha", "weights"},
    "weights": {"alpha"},
    "optimizer": {"lr", "momentum", "weight_decay"},
    "recipe": {*TrainingConfig.model_fields, *AugmentConfig.model_fields}
    - {"recipe", "budget", "target", "balance", "monitor", "one_hot", "log", "seed"},
    "budget": {"epochs"},
    "epochs": {"budget"},
}


def seconds_in(what: str, duration: str | None) -> float | None:
    """Seconds of 90s, 5m or 1h30m; None of nothing.

    Raises: UsageError, if it is no time. what: whose, for the message.
    """
    try:
        return None if duration is None else float(_parse_duration(duration))
    except ValueError as error:
        raise UsageError(f"{what}: {error}. Received: {what}={duration!r}") from None


def allowed_words(setting: str) -> tuple[str, ...]:
    """The words that a setting may take, where it takes one of a few; else nothing."""
    annotation = SECTIONS[SECTION_OF[setting]].model_fields[setting].annotation
    options = [annotation, *get_args(annotation)]
    return next((get_args(option) for option in options if str(option).startswith("typing.Literal")), ())


def _parse_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file that can be read: {error}") from None


def _unknown_section(section: str) -> str:
    if section in SECTION_OF:
        return f"the setting '{section}' belongs below [{SECTION_OF[section]}]."
    return f"there is no section [{section}]. {did_you_mean(section, SECTIONS)}"


def _unknown_key(section: str, key: str) -> str:
    if key in SECTION_OF:
        return f"the setting '{key}' belongs below [{SECTION_OF[key]}], not below [{section}]."
    return f"[{section}] has no setting '{key}'. {did_you_mean(key, SECTIONS[section].model_fields)}"


def _describe(invalid: ValidationError) -> list[str]:
    """All that is wrong, a sentence each: `epochs: Input should be greater than or equal to 1. Received: epochs=0`."""
    problems = []
    for error in invalid.errors():
        setting = str(error["loc"][1]) if len(error["loc"]) > 1 else str(error["loc"][0])
        message = error["msg"].removeprefix("Value error, ")
        received = (
            "nothing" if error["type"] == "missing" and len(error["loc"]) == 2 else f"{setting}={error['input']!r}"
        )
        words = allowed_words(setting) if setting in SECTION_OF else ()
        nearest = " " + did_you_mean(str(error["input"]), words) if words and error["type"] == "literal_error" else ""
        problems.append(f"{setting}: {message[0].lower()}{message[1:]}. Received: {received}.{nearest}")
    return list(dict.fromkeys(problems))
