"""The pictures keep their promises, read from the figures themselves and from the pixels they are drawn to."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from iconoclass.errors import EnvironmentFault
from iconoclass.evaluation import plots

CLASSES = ["T-shirt/top", "Trouser", "Ankle boot"]
STRANGE = [
    "$x_1^2$",
    "$",
    "a_b_c",
    "猫",
    "собака",
    "🐈\u200d⬛ cat\ufe0f",
    "line\nbreak",
    "\udcff\udcfe",
    "قط",
    "ไทย",
    "",
]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def title(figure: Figure) -> str:
    """The bold lines at the top."""
    bold = [text for text in figure.findobj(Text) if text.get_fontweight() == "bold"]
    return " ".join(text.get_text() for text in bold)


def cells(figure: Figure) -> list[str]:
    """What is written inside the matrix."""
    return [text.get_text() for text in matrix_axes(figure).texts if text.get_text()]


def matrix_axes(figure: Figure) -> Axes:
    return figure.axes[1]


def pixels(figure: Figure) -> np.ndarray:
    """uint8 (height, width, 3), as saved."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def captions(figure: Figure, *marks: str) -> list[tuple[str, Bbox]]:
    pixels(figure)
    found = [text for text in figure.axes[0].texts if text.get_text().startswith(marks or ("✓", "✗", "→"))]
    return [(text.get_text(), text.get_window_extent()) for text in found]


def history(*val_accuracies: float) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch, "val_loss": 1.1 / epoch, "val_accuracy": value}
        for epoch, value in enumerate(val_accuracies, start=1)
    ]


def noise(count: int, height: int = 8, width: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def grid(true: list[int], predicted: list[int], confidence: list[float], names: list[str], columns: int = 8) -> Figure:
    arrays = (noise(len(true)), np.array(true, int), np.array(predicted, int), np.array(confidence))
    return plots.predictions_grid(*arrays, names, "Title", columns=columns)


def every_kind_of_picture(names: list[str]) -> list[Figure]:
    k = len(names)
    images, true = noise(3 * k), np.repeat(np.arange(k), 3)
    predicted, confidence = (true + np.arange(3 * k) % 2) % k, np.linspace(0, 1, 3 * k)
    matrix = np.zeros((k, k), int)
    np.add.at(matrix, (true, predicted), 1)
    return [
        plots.curves(history(0.8, 0.9), note=names[0]),
        plots.confusion_matrix(matrix, names, normalised=False),
        plots.confusion_matrix(matrix, names, normalised=True),
        plots.predictions_grid(images, true, predicted, confidence, names, names[0]),
        plots.confused_pairs(images.__getitem__, true, predicted, confidence, names),
        plots.samples(images, true, names),
        plots.augmentations([(name, images[:3]) for name in names[:2]], names[0], names[0]),
    ]


# What is the user's stays the user's.


def test_importing_and_drawing_choose_no_backend_and_open_no_window() -> None:
    program = """
import matplotlib as mpl, numpy as np
before = dict(mpl.rcParams.copy())
from iconoclass.evaluation import plots
import sys
assert "matplotlib.pyplot" not in sys.modules, "imported pyplot"
plots.confusion_matrix(np.array([[3, 1], [0, 4]]), ["a", "b"], normalised=False).canvas.draw()
assert dict(mpl.rcParams.copy()) == before, "changed rcParams"
assert mpl.rcParams._get_backend_or_none() is None, "chose a backend"
import matplotlib._pylab_helpers as helpers
assert not helpers.Gcf.figs, "left a figure with pyplot"
import seaborn
seaborn.reset_orig()
assert mpl.rcParams["font.size"] == before["font.size"], "seaborn took our style for the user's"
"""
    code = f"import os; os.environ.pop('MPLBACKEND', None)\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_are_restored_even_when_drawing_fails() -> None:
    before = dict(mpl.rcParams.copy())
    with pytest.raises(IndexError):
        grid([0], [7], [0.5], CLASSES)
    assert dict(mpl.rcParams.copy()) == before


def test_a_dark_theme_of_the_user_does_not_leak_into_the_picture() -> None:
    light = pixels(plots.curves(history(0.8, 0.9)))
    with matplotlib.style.context(["dark_background", {"lines.linewidth": 9, "font.size": 30}]):
        assert np.array_equal(pixels(plots.curves(history(0.8, 0.9))), light)


def test_the_style_file_and_the_layout_agree_about_the_paper() -> None:
    with matplotlib.style.context([plots.STYLE]):
        width, height = mpl.rcParams["figure.figsize"]
        assert mpl.rcParams["figure.dpi"] == plots.DPI
        assert (width * plots.DPI, height * plots.DPI) == (plots.WIDTH, plots.HEIGHT)
        assert mpl.rcParams["text.color"] == plots.INK
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][:2] == [plots.TRAINING, plots.VALIDATION]


# Names are data.


def test_names_in_any_script_are_drawn_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in every_kind_of_picture(STRANGE):
            assert pixels(figure).min() < 255


def test_dollars_and_underscores_in_names_are_not_read_as_formulas() -> None:
    figure = grid([0], [0], [0.93], ["$x_1$"])
    assert "✓ $x_1$ 93 %" in texts(figure)
    for kind in every_kind_of_picture(["$x_1$", "$y^2$"]):
        assert not any(text.get_parse_math() for text in kind.findobj(Text) if "$" in text.get_text())


def test_a_letter_that_no_font_has_becomes_a_box_and_the_rest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever fonts this machine has besides.
    monkeypatch.setattr(plots, "_OTHER_SCRIPTS", ())
    plots._families.cache_clear()
    plots._drawable.cache_clear()
    try:
        assert plots._plain("猫 cat\ufe0f\u200d собака e\u0301") == "□ cat собака é"
    finally:
        plots._families.cache_clear()
        plots._drawable.cache_clear()


# Curves.


def test_the_epoch_that_was_kept_is_named_where_another_was_higher() -> None:
    rows = [{**each, "kept": kept} for each, kept in zip(history(0.8, 0.9257, 0.92), (1.0, 1.0, 1.0), strict=True)]
    assert title(plots.curves(rows)) == "Validation accuracy of the kept epoch, 3: 92.0 %"
    rows[2]["kept"] = 0.0
    assert title(plots.curves(rows)) == "Validation accuracy peaks at epoch 2: 92.6 %"


def test_the_title_names_the_best_epoch_and_its_value() -> None:
    assert title(plots.curves(history(0.8, 0.9257, 0.91))) == "Validation accuracy peaks at epoch 2: 92.6 %"


def test_of_equally_good_epochs_the_first_is_named() -> None:
    assert "epoch 2: 90.0 %" in title(plots.curves(history(0.8, 0.9, 0.9, 0.9)))


def test_a_best_last_epoch_is_not_called_a_peak() -> None:
    assert title(plots.curves(history(0.8, 0.9))) == "Validation accuracy is highest at the last epoch, 2: 90.0 %"


def test_a_monitored_loss_is_best_where_it_is_lowest() -> None:
    rows = history(0.8, 0.9, 0.7)
    rows[1]["val_loss"] = 0.2134
    assert title(plots.curves(rows, monitor="val_loss")) == "Validation loss is lowest at epoch 2: 0.213"


def test_without_a_validation_split_the_title_says_training() -> None:
    rows = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}, {"epoch": 2, "loss": 2.0, "accuracy": 0.4}]
    figure = plots.curves(rows)
    assert title(figure) == "Training accuracy peaks at epoch 1: 50.0 %"
    assert "validation" not in texts(figure)


@pytest.mark.parametrize("count", [1, 2, 3, 12, 100])
def test_epochs_on_the_axis_are_whole_numbers_and_within_what_was_run(count: int) -> None:
    figure = plots.curves(history(*np.linspace(0.5, 0.9, count)))
    pixels(figure)
    for axes in figure.axes[1:]:
        ticks = [text.get_text() for text in axes.get_xticklabels()]
        assert ticks[0] == "1"
        assert all(tick.isdigit() and 1 <= int(tick) <= count for tick in ticks)


def test_no_share_above_the_whole_is_on_the_axis() -> None:
    figure = plots.curves(history(1.0, 1.0, 1.0))
    pixels(figure)
    accuracy = figure.axes[2]
    assert accuracy.get_ylim()[1] <= 1.0
    assert accuracy.get_ylim()[0] < accuracy.get_ylim()[1]


def test_an_empty_history_and_a_diverged_one_are_drawn() -> None:
    assert "No epoch has ended yet" in title(plots.curves([]))
    gone = [{"epoch": 1, "loss": float("nan"), "accuracy": float("nan")}]
    assert title(plots.curves(gone)) == "1 epoch"
    assert pixels(plots.curves([*history(0.5), {"epoch": 2, "loss": float("inf"), "accuracy": 0.1}])).size


@pytest.mark.parametrize("values", [(0.9, 0.9), (0.2, 0.95, 0.95001), (0.99, 0.3, 0.2), (0.5, 0.6, 0.7, 0.6)])
def test_no_text_lies_on_another(values: tuple[float, ...]) -> None:
    figure = plots.curves(history(*values))
    pixels(figure)
    # Axes keep labels of ticks beyond their ends, and do not draw them.
    beyond = {
        label
        for axes in figure.axes
        for label in axes.get_yticklabels()
        if not axes.get_ylim()[0] <= label.get_position()[1] <= axes.get_ylim()[1]
    }
    drawn = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible() and text not in beyond]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn]
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert Bbox.intersection(first, second) is None, (one, other)
    for word, box in boxes:
        assert box.x0 >= 0, word
        assert box.x1 <= figure.bbox.x1, word


# The confusion matrix.


def test_counts_are_written_and_blank_means_none() -> None:
    figure = plots.confusion_matrix(np.array([[8, 2, 0], [0, 5, 5], [0, 0, 9]]), CLASSES, normalised=False)
    assert sorted(cells(figure)) == ["2", "5", "5", "8", "9"]
    assert title(figure) == "75.9 % of 29 images are right; worst: Trouser → Ankle boot, 5 times"


def test_normalised_cells_are_per_cent_of_their_row() -> None:
    figure = plots.confusion_matrix(np.array([[996, 4], [1, 1]]), ["a", "b"], normalised=True)
    assert sorted(cells(figure)) == ["50", "50", "<1", ">99"]


def test_the_diagonal_takes_no_colour_so_that_errors_do() -> None:
    matrix = np.array([[90, 10], [5, 95]])
    (heat,) = matrix_axes(plots.confusion_matrix(matrix, ["a", "b"], normalised=False)).collections
    shares: np.ma.MaskedArray[Any, Any] = np.ma.asarray(heat.get_array()).reshape(2, 2)
    assert np.ma.getmaskarray(shares).tolist() == [[True, False], [False, True]]
    assert (shares[0, 1], shares[1, 0]) == (0.1, 0.05)
    assert heat.get_clim() == (0, 0.1)


def test_numbers_can_be_read_on_every_shade_of_error() -> None:
    def luminance(colour: Any) -> float:
        parts = np.array(to_rgba(colour)[:3])
        return float(
            np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    matrix = np.diag([500] * 20) + np.arange(400).reshape(20, 20)
    axes = matrix_axes(plots.confusion_matrix(matrix, [str(i) for i in range(20)], normalised=False))
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    for text in axes.texts:
        column, row = (int(middle) for middle in text.get_position())
        cell = plots.QUIET if row == column else axes.collections[0].to_rgba(shares[row, column])
        dark, light = sorted([luminance(text.get_color()), luminance(cell)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (row, column)


def test_a_class_without_examples_says_so_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.confusion_matrix(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]]), CLASSES, normalised=True)
        pixels(figure)
    assert cells(figure).count("no examples") == 1
    assert any("1 class has no examples" in text for text in texts(figure))
    assert not any("nan" in text for text in texts(figure))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.zeros((2, 2), int), "No images were judged"),
        (np.diag([3, 4]), "All 7 images are right"),
        (np.array([[1999, 0], [1, 2000]]), "99.9 % of 4,000"),
        (np.array([[99_999, 0], [1, 100_000]]), ">99.9 % of 200,000"),
        (np.array([[0, 1], [1, 0]]), "0.0 % of 2 images are right; worst: a → b, once"),
    ],
)
def test_the_title_of_a_matrix_is_true(matrix: np.ndarray, said: str) -> None:
    assert said in title(plots.confusion_matrix(matrix, ["a", "b"], normalised=False))


def test_a_hundred_classes_carry_no_text_in_cells_and_list_the_most_confused_pairs() -> None:
    matrix = np.diag(np.full(100, 90))
    matrix[3, 5], matrix[70, 2] = 10, 7
    names = [f"class {i}" for i in range(100)]
    figure = plots.confusion_matrix(matrix, names, normalised=False)
    assert cells(figure) == []
    shown = texts(figure)
    assert shown.index("class 3 → class 5") < shown.index("class 70 → class 2")
    assert {"10 of 100", "7 of 97"} <= set(shown)


@pytest.mark.parametrize("classes", [1, 2, 10, 20, 21, 40, 100])
def test_cells_are_square_and_everything_lies_on_the_paper(classes: int) -> None:
    names = [f"a rather long name of a class, number {i}" for i in range(classes)]
    figure = plots.confusion_matrix(np.full((classes, classes), 12_345), names, normalised=False)
    pixels(figure)
    box = matrix_axes(figure).get_window_extent()
    assert box.width == pytest.approx(box.height)
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            extent = text.get_window_extent()
            assert extent.x0 >= 0, text
            assert extent.y0 >= 0, text
            assert extent.x1 <= figure.bbox.x1, text
            assert extent.y1 <= figure.bbox.y1, text


def test_numbers_of_five_digits_stay_inside_their_cells_of_twenty_classes() -> None:
    figure = plots.confusion_matrix(np.full((20, 20), 12_345), [str(i) for i in range(20)], normalised=False)
    pixels(figure)
    side = matrix_axes(figure).get_window_extent().width / 20
    assert all(text.get_window_extent().width <= side for text in matrix_axes(figure).texts)


def test_a_name_that_is_cut_ends_in_an_ellipsis() -> None:
    figure = plots.confusion_matrix(np.eye(2, dtype=int), ["n" * 99, "b"], normalised=False)
    label = matrix_axes(figure).get_yticklabels()[0].get_text()
    assert label.startswith("nnnn")
    assert label.endswith("…")


# Sheets of pictures.


def test_captions_say_right_or_wrong_by_mark_words_and_colour() -> None:
    figure = grid([0, 0], [0, 1], [0.93, 0.5], ["cat", "dog"], columns=4)
    right, wrong = (text for text in figure.axes[0].texts if text.get_text()[0] in "✓✗")
    assert (right.get_text(), right.get_color()) == ("✓ cat 93 %", plots.RIGHT)
    assert (wrong.get_text(), wrong.get_color()) == ("✗ cat → dog 50 %", plots.WRONG)


def test_a_confidence_short_of_certain_is_not_rounded_to_certain() -> None:
    assert "✓ cat >99 %" in texts(grid([0], [0], [0.9999], ["cat"]))
    assert "✓ cat 100 %" in texts(grid([0], [0], [1.0], ["cat"]))


@pytest.mark.parametrize("columns", [3, 8])
def test_captions_of_long_names_do_not_touch_and_keep_their_confidence(columns: int) -> None:
    names = ["a very long name of a class that goes on", "W" * 60, "m_" * 40]
    true, predicted = [i % 3 for i in range(16)], [i % 2 for i in range(16)]
    shown = captions(grid(true, predicted, [0.5] * 16, names, columns=columns))
    assert len(shown) >= 16
    for (one, first), (other, second) in itertools.combinations(shown, 2):
        assert Bbox.intersection(first, second) is None, (one, other)
    assert sum(text.endswith("50 %") for text, _ in shown) == 16
    assert any("…" in text for text, _ in shown)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (8, 8), (64, 64), (48, 20), (16, 64)])
def test_small_pictures_are_enlarged_by_whole_factors_without_smoothing(height: int, width: int) -> None:
    images = noise(3, height, width, channels=3)
    label = np.zeros(3, int)
    figure = plots.predictions_grid(images, label, label, np.ones(3), ["cat"], "Title")
    for drawn in figure.axes[0].images:
        assert drawn.get_interpolation() == "nearest"
    left, right, bottom, top = (round(edge) for edge in figure.axes[0].images[2].get_extent())
    factor = (right - left) // width
    # 84 pixels of a screen at 96 dpi.
    assert max(right - left, bottom - top) * 96 / plots.DPI >= 84
    enlarged = images[2].repeat(factor, axis=0).repeat(factor, axis=1)
    assert np.array_equal(pixels(figure)[top:bottom, left:right], enlarged)


def test_grey_pictures_keep_every_level_of_grey() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    figure = plots.samples(ramp, np.zeros(1, int), ["ramp"])
    left, right, bottom, top = (round(edge) for edge in figure.axes[0].images[0].get_extent())
    factor = (right - left) // 16
    assert np.array_equal(pixels(figure)[top:bottom:factor, left:right:factor, 0], ramp[0, ..., 0])


def test_photographs_are_scaled_smoothly_in_their_own_proportions() -> None:
    label = np.zeros(1, int)
    figure = plots.predictions_grid(noise(1, 100, 200, 3), label, label, np.ones(1), ["cat"], "Title")
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.02)
    assert figure.axes[0].images[0].get_interpolation() != "nearest"


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64])
def test_a_grid_shows_every_image_it_was_given(count: int) -> None:
    figure = grid([0] * count, [0] * count, [0.5] * count, CLASSES)
    assert len(figure.axes[0].images) == len(captions(figure)) == count


def test_a_grid_of_nothing_says_so() -> None:
    figure = grid([], [], [], CLASSES)
    assert "No images to show." in texts(figure)
    assert "Title" in texts(figure)


def test_confused_pairs_come_most_frequent_first_and_most_confident_first() -> None:
    true = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([1, 1, 1, 2, 2, 2])
    confidence = np.array([0.5, 0.9, 0.7, 0.6, 0.8, 1.0])
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1).repeat(8, axis=1).repeat(8, axis=2)
    figure = plots.confused_pairs(images.__getitem__, true, predicted, confidence, ["a", "b", "c"], per_pair=2)
    shown = texts(figure)
    assert title(figure) == "Most frequent mistake: a taken for b, 3 times"
    assert shown.index("a → b") < shown.index("3 times") < shown.index("b → c") < shown.index("twice")
    assert [int(np.asarray(drawn.get_array())[0, 0, 0]) for drawn in figure.axes[0].images] == [1, 2, 4, 3]
    assert [text for text, _ in captions(figure, "✗")] == ["✗ 90 %", "✗ 70 %", "✗ 80 %", "✗ 60 %"]


def test_no_mistakes_are_said_and_not_drawn() -> None:
    label = np.array([0, 1])
    figure = plots.confused_pairs(noise(2).__getitem__, label, label, np.ones(2), CLASSES)
    assert "No mistakes" in title(figure)
    assert "All 2 images are right." in texts(figure)


def test_of_a_hundred_classes_ten_are_shown_and_ninety_counted() -> None:
    figure = plots.samples(noise(200), np.repeat(np.arange(100), 2), [f"class {i}" for i in range(100)])
    shown = texts(figure)
    assert "class 9" in shown
    assert "class 10" not in shown
    assert "… and 90 more" in shown
    assert len(figure.axes[0].images) == 20


def test_a_class_without_pictures_is_named_all_the_same() -> None:
    shown = texts(plots.samples(noise(1), np.zeros(1, int), CLASSES))
    assert set(CLASSES) <= set(shown)
    assert shown.count("no pictures") == 2


def test_augmentations_show_the_originals_first_and_the_strength_below_the_name() -> None:
    images = noise(4)
    rows = [("original", images), ("brightness\nstrength 0.3", images.astype(np.float32) * 9)]
    figure = plots.augmentations(rows, "Title", "subtitle")
    shown = texts(figure)
    assert shown.index("original") < shown.index("brightness") < shown.index("strength 0.3")
    first, *_, last = (np.asarray(drawn.get_array()) for drawn in figure.axes[0].images)
    assert np.array_equal(first[..., :1], images[0])
    assert last.max() == 255, "brighter than white must stay white, not wrap round to black"


# Files.


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = plots.save(plots.curves(history(0.8, 0.9)), tmp_path / f"curves{suffix}")
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_picture_has_the_size_of_the_paper_whatever_the_user_has_set(tmp_path: Path) -> None:
    from PIL import Image

    with mpl.rc_context({"savefig.dpi": 40, "savefig.bbox": "tight", "savefig.facecolor": "black"}):
        path = plots.save(plots.curves(history(0.8, 0.9)), tmp_path / "curves.png")
    with Image.open(path) as image:
        assert image.size == (plots.WIDTH, plots.HEIGHT)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_folder_of_a_plot_is_made_and_one_that_cannot_be_made_is_a_fault_with_a_hint(tmp_path: Path) -> None:
    assert plots.save(plots.curves([]), tmp_path / "new" / "curves.png").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot make the folder"):
        plots.save(plots.curves([]), tmp_path / "file" / "curves.png")
