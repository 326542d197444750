"""The weights of a backbone: found, fetched, recognised by their arrays, looked through before they are trusted.

A weights file is data that somebody else made. It is read as HDF5, never unpickled: links that lead out of it, storage
elsewhere and sizes that no backbone has are refused before any array is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iconoclass.config import Config
from iconoclass.errors import DownloadError, EnvironmentFault, IntegrityError, UsageError
from iconoclass.fetch import Progress, RemoteFile, fetch
from iconoclass.files import cache_folder, sha256_of
from iconoclass.models.pretrained import BACKBONE, BACKBONES, DEFAULT, variant
from iconoclass.run import Run

Shape = tuple[int, ...]

PUBLISHED, NONE = "imagenet", "none"  # what --weights may be beside a path
_MOST_PARAMETERS = 100_000_000  # three times those of the largest backbone
_MOST_OBJECTS = 10_000


def decide(config: Config, is_photos: bool | None) -> Config:
    """The configuration with network, alpha and weights, as far as settings, a weights file or the pictures say them.

    is_photos: None, as long as the pictures have not been looked at.
    Raises: UsageError, if the settings contradict each other or the weights; IntegrityError, if these are not safe.
    """
    asked = config.model
    model, alpha = (None if asked.model == "auto" else asked.model), asked.alpha
    if asked.weights not in (None, PUBLISHED, NONE) and model in (None, *BACKBONES):
        found, found_alpha = recognised(Path(asked.weights))
        if model not in (None, found) or alpha not in (None, found_alpha):
            said = f"--model {model}" if model not in (None, found) else f"--alpha {alpha:g}"
            raise UsageError(f"{asked.weights} belongs to {_called(found, found_alpha)}, not to {said}")
        model, alpha = found, found_alpha
    wanted = wants_backbone(config)
    if model is None and (wanted or (wanted is None and is_photos)):
        model = DEFAULT
    if model not in BACKBONES:
        return config
    alpha = BACKBONES[model].default_alpha if alpha is None else alpha
    variant(model, alpha)
    return config.with_settings(model=model, alpha=alpha, weights=_absolute(asked.weights or PUBLISHED))


def wants_backbone(config: Config) -> bool | None:
    """Whether the settings ask for a backbone; None, where they leave it to the pictures."""
    model, recipe = config.model, config.training.recipe
    if model.model not in (None, "auto"):
        return model.model in BACKBONES
    if model.weights not in (None, NONE) or model.alpha is not None or recipe == "transfer":
        return True
    return False if model.model == "auto" or model.width is not None or recipe is not None else None


def are_wanted(config: Config) -> bool:
    """Whether there are weights to be found and loaded, once network and weights are decided."""
    return config.model.model in BACKBONES and config.model.weights not in (None, NONE)


def recognised(path: Path) -> tuple[str, float | None]:
    """The backbone, and its alpha, that a weights file or the folder of a run holds.

    Raises: UsageError, if there is none there that we know; IntegrityError, if the file is not safe to read.
    """
    if path.expanduser().is_dir():
        model = Run.open(path).config.model
        if model.model not in BACKBONES:
            raise UsageError(f"the run {path} has no backbone that could be taken over: its model is {model.model}")
        return model.model, model.alpha
    shapes = list(_shapes(path.expanduser()).elements())
    found = len(shapes), sum(map(_size, shapes))
    fitting = {(each.arrays, each.parameters): key for key, each in _variants().items()}
    if found not in fitting:
        known = "\n  ".join(
            f"{_called(*key)}: {arrays} arrays, {parameters:,} parameters"
            for (arrays, parameters), key in fitting.items()
        )
        raise UsageError(
            f"{path} holds {found[0]} arrays with {found[1]:,} parameters, which is no backbone that we know",
            hint=f"These would do, each without its last layer:\n  {known}",
        )
    return fitting[found]


def find(config: Config, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The file or run with the weights of a backbone; what is published is fetched into the user's cache.

    config: decided, with weights. Raises: EnvironmentFault, if they are published and cannot be had; it says what can.
    """
    model = config.model
    if model.weights != PUBLISHED:
        return Path(model.weights or "")
    name, alpha = model.model or "", model.alpha
    url = BACKBONES[name].url(alpha)
    file = RemoteFile(url.rpartition("/")[2], variant(name, alpha).digest, (url,))

    def is_it(path: Path) -> bool:
        try:
            return recognised(path) == (name, alpha)
        except (UsageError, IntegrityError):
            return False

    try:
        return fetch(file, cache_folder("weights"), offline=offline, progress=progress, is_it=is_it)
    except DownloadError as error:
        raise EnvironmentFault(
            f"the ImageNet weights of {_called(name, alpha)} are not here: {error.what}",
            hint="What works without them: --weights FILE with a file that you bring, --weights none to learn from "
            f"nothing, or --model resnet, which is made for that.\n{error.hint}",
            code=error.code,
        ) from error


def digest(path: Path) -> str:
    """SHA-256 of the weights that `find` found."""
    return sha256_of(Run(path).model_path if path.is_dir() else path)


def load(network: Any, path: Path) -> None:
    """Put the weights that `find` found into a network that `pretrained.build` built.

    Raises: IntegrityError, if they do not fit, array by array, or are no numbers.
    """
    import numpy as np

    backbone = network.get_layer(BACKBONE)
    try:
        if path.is_dir():
            _take_over(backbone, Run(path).model_path)
        else:
            _load_file(backbone, path)
    except (ValueError, KeyError, OSError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise IntegrityError(f"{path} does not fit {network.name}: {first_line}") from error
    if not all(np.isfinite(weight).all() for weight in backbone.get_weights()):
        raise IntegrityError(f"{path} holds NaN or infinity", hint="It is damaged: get it again.")


def _take_over(backbone: Any, path: Path) -> None:
    from iconoclass.backend import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    while BACKBONE not in (names := [layer.name for layer in model.layers]):
        # A model with mirrored views has the network inside.
        model = next(layer for layer in model.layers if hasattr(layer, "layers"))
    backbone.set_weights(model.layers[names.index(BACKBONE)].get_weights())


def _load_file(backbone: Any, path: Path) -> None:
    expected = Counter(tuple(weight.shape) for weight in backbone.weights)
    if _shapes(path) != expected:
        odd = next(iter(_shapes(path) - expected), None)
        raise ValueError(f"it has an array of shape {odd}, which the network has not, or has less often")
    backbone.load_weights(path)


# -- reading HDF5 that one has not written ---------------------------------------------------------------------------


def _shapes(path: Path) -> Counter[Shape]:
    """The shapes of all arrays in a weights file, and how often each occurs.

    Raises: UsageError, if there is no such file; IntegrityError, if it is not safe to read.
    """
    import h5py

    if not path.is_file():
        raise UsageError(
            f"there are no weights {path}", hint=f"Allowed: {PUBLISHED}, {NONE}, a weights file, or a run's folder."
        )
    try:
        with h5py.File(path, "r") as file:
            shapes = Counter(array.shape for array in checked_arrays(file, kinds="f"))
            is_old = "layer_names" in file.attrs or "layer_names0" in file.attrs
    except (OSError, RuntimeError, ValueError) as error:
        raise IntegrityError(f"{path} is not a weights file that can be read: {error}") from error
    if sum(_size(shape) * count for shape, count in shapes.items()) > _MOST_PARAMETERS:
        raise IntegrityError(f"{path} claims to hold more than {_MOST_PARAMETERS:,} numbers", hint=_REFUSED)
    # Keras tells its two formats apart by the name alone.
    if path.name.endswith(".weights.h5") == is_old:
        right = ".h5 alone, not .weights.h5" if is_old else ".weights.h5"
        raise UsageError(
            f"{path} is a weights file of {'an older' if is_old else 'this'} Keras", hint=f"Name it {right}"
        )
    return shapes


_REFUSED = "No backbone looks like that: it is refused."


def checked_arrays(file: Any, kinds: str = "fiub") -> Iterator[Any]:
    """Each array of an open HDF5 file, none of which is read. kinds: of its numbers, as in numpy.dtype.kind.

    Raises: ValueError, if something leads out of the file or is no array of such numbers.
    """
    import h5py

    links: list[Any] = []
    objects: list[Any] = []

    def collect(into: list[Any]) -> Any:
        def visit(name: str, thing: Any) -> bool | None:
            into.append((name, thing))
            return len(into) > _MOST_OBJECTS or None  # anything but None ends the walk

        return visit

    file.visititems_links(collect(links))
    file.visititems(collect(objects))
    if max(len(links), len(objects)) > _MOST_OBJECTS:
        raise ValueError(f"it holds more than {_MOST_OBJECTS:,} objects")
    for name, link in links:
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link that leads elsewhere")  # noqa: TRY004 - of the file
    for name, thing in objects:
        if isinstance(thing, h5py.Dataset):
            if thing.external or thing.is_virtual:
                raise ValueError(f"{name} is stored in another file")
            if thing.dtype.kind not in kinds or thing.shape is None:
                raise ValueError(f"{name} is no array of numbers")
            yield thing


def _size(shape: Shape) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _variants() -> dict[tuple[str, float | None], Any]:
    return {(name, alpha): each for name, entry in BACKBONES.items() for alpha, each in entry.variants.items()}


def _called(name: str, alpha: float | None) -> str:
    return name if alpha is None else f"{name} of alpha {alpha:g}"


def _absolute(weights: str) -> str:
    # A run's config.toml must mean the same file from another folder.
    return weights if weights in (PUBLISHED, NONE) else str(Path(weights).expanduser().absolute())
