"""explain(): what a network looked at in a picture, which training pictures are like it, and what else it might be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from iconoclass import inline
from iconoclass.data.dataset import Dataset, open_dataset
from iconoclass.errors import DataError
from iconoclass.evaluation.attention import Map, Pixels, looked_at, over
from iconoclass.evaluation.evaluator import refuse_other_pictures
from iconoclass.files import printable
from iconoclass.images.prepare import prepare
from iconoclass.prediction.predictor import Prediction, Predictor
from iconoclass.run import Run

NEAREST = 5


@dataclass(frozen=True)
class Explanation:
    """One picture, as the network saw it. nearest: training pictures (name, class, pixels), the most like first."""

    prediction: Prediction
    pixels: Pixels
    attention: Map
    nearest: list[tuple[str, str, Pixels]]

    def text(self) -> str:
        """The answer, what else it might be, and which training pictures are most like it."""
        (first, share), *others = self.prediction.top(4)
        rest = ", ".join(f"{printable(name)} {other:.1%}" for name, other in others)
        lines = [f"{printable(self.prediction.image)}: {printable(first)} {share:.1%}"]
        lines += [f"  unknown: {self.prediction.unknown}"] if self.prediction.unknown else []
        lines += [f"  or: {rest}"] if rest else []
        like = ", ".join(f"{printable(name)} ({printable(class_name)})" for name, class_name, _ in self.nearest)
        return "\n".join([*lines, *([f"  most like: {like}"] if like else [])])


@dataclass(frozen=True)
class Explanations:
    run: Run
    answers: list[Explanation]

    def text(self) -> str:
        return "\n".join(answer.text() for answer in self.answers)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """For each picture: itself, what the answer rests on, the training pictures most like it."""
        return "".join(
            inline.card(
                f"{Path(answer.prediction.image).name}: {answer.prediction.class_name} "
                f"{answer.prediction.confidence:.0%}",
                inline.gallery(
                    [
                        (answer.pixels, "the picture", ""),
                        (over(answer.pixels, answer.attention), "what it rests on", ""),
                    ]
                ),
                inline.said("The training pictures most like it:" if answer.nearest else "", quiet=True),
                inline.gallery([(pixels, name, Path(image).name) for image, name, pixels in answer.nearest]),
            )
            for answer in self.answers
        )

    def save(self, path: Path | str = "explain.png") -> Path:
        """Write the sheet: a row for each picture, with its map and the nearest training pictures."""
        from iconoclass.evaluation import plots

        rows = [_row(answer) for answer in self.answers]
        subtitle = (
            "Left the picture; then what the answer rests on, in yellow; then the training pictures most like it."
        )
        return plots.save(plots.explanations(rows, f"What {self.run.name} looked at", subtitle), Path(path))


def _row(answer: Explanation) -> tuple[list[str], npt.NDArray[np.uint8]]:
    shown = [answer.pixels, over(answer.pixels, answer.attention), *(pixels for _, _, pixels in answer.nearest)]
    coloured = [pixels.repeat(3, axis=-1) if pixels.shape[-1] == 1 else pixels for pixels in shown]
    words = [f"{name} {share:.1%}" for name, share in answer.prediction.top(3)]
    named = ["unknown"] if answer.prediction.unknown else []
    return [*named, *words, Path(answer.prediction.image).name], np.stack(coloured)


def explain(
    run: Run | Path | str, images: Iterable[Path | str], *, dataset: Dataset | None = None, offline: bool = False
) -> Explanations:
    """Why the network of a run answers as it does, for some pictures.

    dataset: the run's own, if it is at hand; else it is opened again, for the nearest training pictures.
    Raises: DataError, if a picture cannot be read, or the training pictures are no longer those of the run.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    paths = [Path(image) for image in images]
    if not paths:
        raise DataError("there are no pictures to explain", hint="Name some.")
    predictor = Predictor.load(run.path)
    answers = predictor.predict(paths)
    pixels = np.stack([prepare(path, predictor.image_shape, predictor.resize_rule) for path in paths])
    nearest = _nearest(run, predictor, pixels, dataset, offline)
    return Explanations(
        run,
        [
            Explanation(
                answer,
                one,
                looked_at(predictor.probabilities, one, predictor.class_names.index(answer.class_name)),
                like,
            )
            for answer, one, like in zip(answers, pixels, nearest, strict=True)
        ],
    )


def _nearest(
    run: Run, predictor: Predictor, pixels: Pixels, dataset: Dataset | None, offline: bool
) -> list[list[tuple[str, str, Pixels]]]:
    features, known = predictor.look(pixels)[1], predictor.certainty.known
    if known is None or features is None:
        return [[] for _ in pixels]
    dataset = dataset or open_dataset(run.config.data, offline=offline)
    refuse_other_pictures(run, dataset)
    train, names = dataset.train, dataset.class_names
    return [
        [
            (train.names[at], names[train.labels[at]], found)
            for at, found in zip(row.tolist(), train.take(row), strict=True)
        ]
        for row in known.nearest(features, NEAREST)
    ]
