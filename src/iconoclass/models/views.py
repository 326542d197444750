"""VIEWS: a network that looks at each picture in several ways, and answers with the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from iconoclass.backend import keras


class Look(NamedTuple):
    """by: 1, the picture is moved by a pixel down and to the right; -1, up and to the left; 0, it is not. What comes in
    at the border is the reflection, as in training. is_mirrored: before it is moved.
    """

    by: int = 0
    is_mirrored: bool = False

    def at(self, picture: Any) -> Any:
        """picture: a tensor (batch, height, width, channels), as is what is returned."""
        if self.is_mirrored:
            picture = keras.ops.flip(picture, axis=2)
        return _moved(_moved(picture, 1, self.by), 2, self.by) if self.by else picture


def _moved(picture: Any, axis: int, by: int) -> Any:
    """By one pixel, towards the end of the axis or, if by is -1, towards its beginning."""
    length = picture.shape[axis]
    if length == 1:
        return picture

    def part(first: int, end: int) -> Any:
        cut = [(0, 0), (0, 0)]
        cut[axis - 1] = (first, length - end)
        return keras.layers.Cropping2D(cut)(picture)

    parts = [(1, 2), (0, length - 1)] if by > 0 else [(1, length), (length - 2, length - 1)]
    return keras.layers.Concatenate(axis)([part(first, end) for first, end in parts])


VIEWS: Mapping[str, Sequence[Look]] = {
    "one": [Look()],
    "mirrored": [Look(), Look(is_mirrored=True)],
    "shifted": [Look(by, is_mirrored) for by in (0, 1, -1) for is_mirrored in (False, True)],
}


def with_views(network: Any, views: str) -> Any:
    """The network that looks at each picture in these ways, and answers with the mean of its answers."""
    if views == "one":
        return network
    inputs = keras.Input(network.input_shape[1:])
    answers = [network(look.at(inputs)) for look in VIEWS[views]]
    return keras.Model(inputs, keras.layers.Average(name=_name(views))(answers), name=f"{network.name}_{views}")


def looks_of(model: Any) -> Sequence[Look]:
    """The ways in which a network looks at each picture."""
    names = {layer.name for layer in model.layers}
    return next((looks for views, looks in VIEWS.items() if _name(views) in names), VIEWS["one"])


def _name(views: str) -> str:
    return f"{views}_views"
