"""Every setting, as frozen and typed models: TOML or keywords in, checked once and all together, printed back whole.

A setting that is None has not been chosen: the data, the network or the recipe decides it before training starts
(`training.recipes.complete`), so that the `config.toml` of a run never leaves anything open.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from iconoclass.errors import ConfigError, IconoclassError, UsageError, did_you_mean

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


Side = Annotated[int, Field(ge=8, le=1024)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_parse_size)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_parse_share)]
OpenFraction = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_parse_share)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    source: str = Field(description="A data set's name, or a folder, CSV, .npz or archive.")
    image_size: Size | None = Field(None, description="Side in pixels, or height x width; 8 to 1024.")
    resize: Literal["crop", "pad", "squash"] = Field("crop", description="How a picture is brought to that size.")
    color: Literal["grey", "rgb"] | None = Field(None, description="Channels: grey if all pictures are, else rgb.")
    validation: Literal["split", "test"] = Field("split", description="What chooses: a split of train, or test.")
    validation_split: OpenFraction = Field(0.1, description="Share of train that chooses.")
    test_split: OpenFraction = Field(0.2, description="Share judged, if there is no test part.")
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Another split of the same pictures.")
    max_bad: Fraction = Field(0.01, description="Share of unreadable files up to which training goes on.")
    allow_outside: bool = Field(False, description="A CSV may name pictures outside its own folder.")


class ModelConfig(Section):
    model: str | None = Field(None, description="The network: see `iconoclass models`.")
    width: Annotated[int, Field(ge=4, le=1024)] | None = Field(None, description="Filters of the first block.")
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="Dropout before the last layer.")


class TrainingConfig(Section):
    recipe: str | None = Field(None, description="Defaults for all below: textbook or fast.")
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = Field(None, description="Passes over the training part.")
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = Field(None, description="Images a step.")
    optimizer: str | None = Field(None, description="adam, adamw or sgd.")
    lr: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = Field(
        None, description="Learning rate at its highest."
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="Nesterov momentum, of sgd only.")
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Decoupled; of kernels, never of biases or batch norm."
    )
    schedule: str | None = Field(None, description="constant, cosine, triangular or plateau.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Share of a label given to all classes alike."
    )
    average: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Decay a step of the averaged weights that are kept; 0: none."
    )
    patience: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Stop after so many epochs without a better one; 0: never."
    )
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: rare classes weigh more.")
    one_hot: bool = Field(False, description="One-hot labels and categorical cross-entropy; the same result.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the arithmetic in training; auto: as the recipe and the processor allow."
    )
    log: Literal["none", "tensorboard"] = Field("none", description="tensorboard: event files in the run folder.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Of weights, order and augmentation.")


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

        Raises: ConfigError, which names every key that is wrong.
        """
        flat: dict[str, Any] = {}
        content = _parse_toml(path)
        if content.pop("format", FORMAT) > FORMAT:
            raise ConfigError(f"{path} was made by a newer Iconoclass", hint="Update with pip install -U iconoclass.")
        for section, values in content.items():
            if section not in SECTIONS or not isinstance(values, dict):
                raise ConfigError(f"{path} has no section [{section}] to be read", hint=did_you_mean(section, SECTIONS))
            for key, value in values.items():
                if SECTION_OF.get(key) != section:
                    hint = did_you_mean(key, SECTIONS[section].model_fields)
                    raise ConfigError(f"{path}: [{section}] has no setting '{key}'", hint=hint)
                flat[key] = value
        flat |= {name: value for name, value in settings.items() if value is not None}
        return cls._checked(flat, ConfigError, f"{path}: ")

    @classmethod
    def _checked(cls, flat: Mapping[str, Any], error: type[IconoclassError], where: str) -> Config:
        sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for name, value in flat.items():
            if name not in SECTION_OF:
                raise error(f"{where}there is no setting '{name}'", hint=did_you_mean(name, SECTION_OF))
            sections[SECTION_OF[name]][name] = value
        try:
            return cls.model_validate(sections)
        except ValidationError as invalid:
            raise error(where + _describe(invalid)) from None

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


def _describe(invalid: ValidationError) -> str:
    """All that is wrong, a sentence each: `epochs: Input should be greater than or equal to 1. Received: epochs=0`."""
    problems = []
    for error in invalid.errors():
        setting = str(error["loc"][1]) if len(error["loc"]) > 1 else str(error["loc"][0])
        message = error["msg"].removeprefix("Value error, ")
        received = "nothing" if error["type"] == "missing" else f"{setting}={error['input']!r}"
        words = allowed_words(setting) if setting in SECTION_OF else ()
        nearest = " " + did_you_mean(str(error["input"]), words) if words and error["type"] == "literal_error" else ""
        problems.append(f"{setting}: {message[0].lower()}{message[1:]}. Received: {received}.{nearest}")
    return "\n  ".join(dict.fromkeys(problems))
