"""One picture has one answer, however it is handed over; what cannot be read is named and stops nothing else."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.errors import DataError, ImageError, ImageShapeError, IntegrityError, RunError
from iconoclass.models.catalog import build
from iconoclass.prediction import predictor as module
from iconoclass.prediction.predictor import Prediction, Refusal
from iconoclass.run import Run


@pytest.fixture(scope="module")
def grey(run: Run) -> ic.Predictor:
    """Asked about 8 x 8 grey."""
    return ic.Predictor.load(run.path)


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> ic.Predictor:
    """Untrained, asked about 12 x 16 colour: which answer it gives does not matter here, only that it is one."""
    model = build("convnet", (12, 16, 3), 3, width=8)
    return ic.Predictor(lambda pixels: np.asarray(model(pixels, training=False)), ["a", "b", "c"], (12, 16, 3), "pad")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 22, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def row(prediction: Prediction) -> list[float]:
    return list(prediction.probabilities.values())


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_path_text_bytes_picture_array_and_batch_are_one_question(
    kind: str, picture: Path, request: pytest.FixtureRequest
) -> None:
    """I24."""
    predictor = request.getfixturevalue(kind)
    with Image.open(picture) as opened:
        opened.load()
        array = np.asarray(opened)
        asked = [picture, str(picture), picture.read_bytes(), opened, array, opened.convert("RGBA")]
        answers = [predictor.predict(one) for one in asked]
    answers += [predictor.predict(array[None]), predictor.predict(iter([picture]))]
    assert [len(answer) for answer in answers] == [1] * len(answers)
    assert {tuple(row(answer)) for [answer] in answers} == {tuple(row(answers[0][0]))}
    assert [answers[0][0].image, answers[2][0].image] == [str(picture), "0"]


def test_a_grey_picture_is_asked_of_a_colour_model_and_a_coloured_one_of_a_grey_model(
    grey: ic.Predictor, colour: ic.Predictor
) -> None:
    """I25: never an error about axes."""
    plain = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    for predictor in (grey, colour):
        answers = predictor.predict([plain, plain[..., None], np.repeat(plain[..., None], 3, axis=-1)])
        assert row(answers[0]) == row(answers[1]) == row(answers[2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_a_phone_has_turned_gets_the_answer_of_the_upright_one(
    orientation: int, picture: Path, colour: ic.Predictor
) -> None:
    """I12: as a file and as a PIL image."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the Transpose that a camera's turn amounts to
    with Image.open(picture) as upright:
        turned = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright.copy()
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    expected = row(colour.predict(picture)[0])
    assert row(colour.predict(file.getvalue())[0]) == expected
    with Image.open(file) as opened:
        assert row(colour.predict(opened)[0]) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool, np.uint16])
def test_arrays_of_other_types_are_refused_with_the_way_out(dtype: type, grey: ic.Predictor) -> None:
    for shape in [(8, 8), (8, 8, 3), (2, 8, 8, 1)]:
        with pytest.raises((ImageShapeError, DataError), match="uint8") as caught:
            grey.predict(np.zeros(shape, dtype))
        assert "astype('uint8')" in str(caught.value)


@pytest.mark.parametrize("shape", [(8,), (8, 8, 2), (8, 8, 5), (1, 1, 8, 8, 1), ()])
def test_arrays_that_are_no_pictures_are_refused_with_their_shape(shape: tuple[int, ...], grey: ic.Predictor) -> None:
    with pytest.raises(ImageShapeError, match="Received: uint8"):
        grey.predict(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pictures_whose_range_is_unknown_are_not_clipped_in_silence(mode: str, grey: ic.Predictor) -> None:
    with pytest.raises(ImageShapeError, match=f"mode {mode}"):
        grey.predict(Image.new(mode, (8, 8), 1000))


def test_what_is_no_picture_at_all_is_refused(grey: ic.Predictor) -> None:
    with pytest.raises(ImageShapeError, match="an image cannot be a int"):
        grey.predict([3])  # type: ignore[list-item]


def test_pixels_of_another_shape_are_refused_where_nothing_resizes_them(grey: ic.Predictor) -> None:
    for pixels in (np.zeros((2, 9, 8, 1), np.uint8), np.zeros((8, 8, 1), np.uint8), np.zeros((2, 8, 8, 1), np.float32)):
        with pytest.raises(ImageShapeError, match="pixels must be uint8"):
            grey.probabilities(pixels)


def test_probabilities_are_float32_rows_that_sum_to_1(grey: ic.Predictor) -> None:
    answers = grey.probabilities(ic.load_dataset("digits").test.pixels)
    assert answers.shape == (359, 10)
    assert answers.dtype == np.float32
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_of_no_pictures_there_are_no_answers(grey: ic.Predictor) -> None:
    assert grey.predict([]) == []
    assert list(grey.stream([])) == []
    assert grey.probabilities(np.empty((0, 8, 8, 1), np.uint8)).shape == (0, 10)


def test_the_order_is_kept_over_several_batches(grey: ic.Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = ic.load_dataset("digits").test.pixels[:23]
    whole = grey.probabilities(pixels)
    monkeypatch.setattr(module, "BATCH", 5)
    answers = grey.predict(list(pixels))
    assert [answer.image for answer in answers] == [str(place) for place in range(23)]
    assert np.allclose([row(answer) for answer in answers], whole, atol=1e-6)


def test_one_picture_and_the_same_among_many_get_the_same_answer(grey: ic.Predictor) -> None:
    pixels = ic.load_dataset("digits").test.pixels[:40]
    alone = np.concatenate([grey.probabilities(pixels[at : at + 1]) for at in range(40)])
    assert np.allclose(alone, grey.probabilities(pixels), atol=1e-6)


def test_one_bad_file_among_many_stops_none_of_the_others(grey: ic.Predictor, picture: Path) -> None:
    """I1, H12 in spirit."""
    (picture.parent / "empty.jpg").touch()
    (picture.parent / "text.jpg").write_text("hello")
    asked = [picture, picture.parent / "empty.jpg", picture, picture.parent / "text.jpg", picture.parent / "none.jpg"]
    answers = list(grey.stream(asked))
    assert [type(answer) for answer in answers] == [Prediction, Refusal, Prediction, Refusal, Refusal]
    assert [answer.image for answer in answers] == [str(path) for path in asked]
    assert isinstance(answers[1], Refusal)
    assert answers[1].error.code == "IMG_EMPTY"
    with pytest.raises(DataError, match="3 of 5 images cannot be read") as caught:
        grey.predict(asked)
    for name in ("empty.jpg", "text.jpg", "none.jpg"):
        assert name in str(caught.value)


def test_one_bad_file_alone_is_refused_with_its_own_code(grey: ic.Predictor, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError) as caught:
        grey.predict(tmp_path / "empty.jpg")
    assert caught.value.code == "IMG_EMPTY"


def test_answers_come_while_pictures_are_still_being_read(grey: ic.Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: a million files are not held in memory."""
    monkeypatch.setattr(module, "BATCH", 2)
    read = []

    def pictures() -> object:
        for place in range(10):
            read.append(place)
            yield np.zeros((8, 8), np.uint8)

    next(grey.stream(pictures()))  # type: ignore[arg-type]
    assert len(read) == 2


def test_the_top_k_are_in_order_and_never_more_than_there_are() -> None:
    prediction = Prediction("x", "b", 0.5, {"a": 0.2, "b": 0.5, "c": 0.3})
    assert prediction.top(2) == [("b", 0.5), ("c", 0.3)]
    assert [name for name, _ in prediction.top(9)] == ["b", "c", "a"]


def test_a_prediction_names_its_most_probable_class(grey: ic.Predictor) -> None:
    for answer in grey.predict(list(ic.load_dataset("digits").test.pixels[:20])):
        assert answer.top(1) == [(answer.class_name, answer.confidence)]
        assert answer.confidence == max(answer.probabilities.values())


# -- damaged models ------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "copy").mkdir()
    for name in ("config.toml", "dataset.json", "model.keras"):
        shutil.copy(run.path / name, tmp_path / "copy" / name)
    return Run(tmp_path / "copy")


def flip(content: bytes, share: float) -> bytes:
    at = int(len(content) * share)
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-10],
        lambda content: flip(content, 0.3),
        lambda content: flip(content, 0.6),
        lambda content: b"PK\x03\x04" + os.urandom(500),
        lambda content: b"not a model",
    ],
    ids=["empty", "half", "without its end", "a byte at 30 %", "a byte at 60 %", "a zip's head", "text"],
)
def test_a_damaged_model_is_refused(damage: object, copied: Run) -> None:
    """M1 in spirit."""
    content = copied.model_path.read_bytes()
    copied.model_path.write_bytes(damage(content))  # type: ignore[operator]
    with pytest.raises(IntegrityError, match=r"model\.keras") as caught:
        ic.Predictor.load(copied.path)
    assert caught.value.exit_status == 5


@pytest.mark.parametrize(
    ("shape", "classes", "complaint"),
    [
        ((8, 8, 1), 9, "answers for 9 classes, where there are 10 class names"),
        ((9, 9, 3), 10, "does not take images of"),
    ],
)
def test_a_model_of_another_run_is_refused(
    shape: tuple[int, int, int], classes: int, complaint: str, copied: Run
) -> None:
    """M2."""
    build("mlp", shape, classes).save(copied.model_path)
    with pytest.raises(IntegrityError, match=complaint):
        ic.Predictor.load(copied.path)


def test_a_model_whose_weights_are_no_numbers_is_refused(copied: Run) -> None:
    """M14."""
    model = build("mlp", (8, 8, 1), 10)
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    model.save(copied.model_path)
    with pytest.raises(IntegrityError, match="holds NaN or infinity"):
        ic.Predictor.load(copied.path)


def test_a_run_that_was_stopped_before_it_had_a_model_says_so(copied: Run) -> None:
    copied.model_path.unlink()
    with pytest.raises(RunError, match="there is no model"):
        ic.Predictor.load(copied.path)
