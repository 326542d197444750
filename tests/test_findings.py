"""What may mislead who learns is said with a number; what is in order is not mentioned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

import iconoclass as ic
from iconoclass.data.findings import remarks
from iconoclass.intervals import auc_interval
from odd_images import corpus
from trouble import encoded, tiles


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, alike in everything: 20 different pictures each, mixed."""
    for at, image in enumerate([*tiles(), *(tile.rotate(90) for tile in tiles()[:10])]):
        home = tmp_path / "photos" / ("a" if at % 2 else "b")
        home.mkdir(parents=True, exist_ok=True)
        (home / f"x{at:02d}x.png").write_bytes(encoded(image))
    return tmp_path / "photos"


def found_in(folder: Path) -> dict[str, Any]:
    return ic.check(folder).findings


def said_of(findings: dict[str, Any]) -> set[str]:
    return {remark.key for remark in remarks(findings)}


def test_of_pictures_in_order_nothing_is_said(folder: Path) -> None:
    findings = found_in(folder)
    assert not any(remark.is_trouble for remark in remarks(findings))
    assert findings["imbalance"] == 1
    assert findings["shortcuts"] == []


def change_all(folder: Path, change: Any, suffix: str = "png", **options: object) -> None:
    for path in sorted(folder.iterdir()):
        content = encoded(change(Image.open(path)), {"jpg": "JPEG"}.get(suffix, suffix), **options)
        path.unlink()
        path.with_suffix(f".{suffix}").write_bytes(content)


SHORTCUTS = {
    "brightness": (lambda image: ImageEnhance.Brightness(image).enhance(0.2), {}),
    "sharpness": (lambda image: image.filter(ImageFilter.GaussianBlur(4)), {}),
    "size": (lambda image: image.resize((70, 70)), {}),
    "aspect ratio": (lambda image: image.resize((120, 96)), {}),
    "format JPEG": (lambda image: image, {"suffix": "jpg", "quality": 100, "subsampling": 0}),
    "bytes per pixel": (lambda image: image.quantize(4).convert("RGB"), {}),
}


@pytest.mark.parametrize("by", SHORTCUTS)
def test_a_class_that_one_property_of_its_files_tells_from_the_rest_is_named_with_the_number(
    folder: Path, by: str
) -> None:
    change, options = SHORTCUTS[by]
    change_all(folder / "a", change, **options)
    findings = found_in(folder)
    of_a = {shortcut["by"]: shortcut["auc"] for shortcut in findings["shortcuts"] if shortcut["class"] == "a"}
    assert by in of_a
    assert 0.8 <= of_a[by]["low"] <= of_a[by]["value"] <= 1
    [remark] = [remark for remark in remarks(findings) if remark.key == "shortcuts"]
    assert any(f"{by} (AUC " in example for example in remark.examples)


def test_few_pictures_are_never_sure_to_have_a_shortcut() -> None:
    assert (auc_interval(1.0, 3, 3).low or 0) < 0.6
    assert (auc_interval(1.0, 3, 1000).low or 0) < 0.8
    assert (auc_interval(1.0, 50, 50).low or 0) > 0.9
    assert auc_interval(1.0, 0, 3).value is None


def test_small_classes_and_uneven_ones_are_named(folder: Path) -> None:
    """F4."""
    (folder / "c").mkdir()
    for at, image in enumerate(tiles()[:2]):
        (folder / "c" / f"{at}.png").write_bytes(encoded(image.rotate(180)))
    findings = found_in(folder)
    assert findings["small_classes"] == {"c": 2}
    assert findings["imbalance"] == 10
    assert "small_classes" in said_of(findings)
    assert "imbalance" not in said_of(findings)


def test_blank_dark_bright_blurred_and_tiny_pictures_are_named(folder: Path) -> None:
    """I10: a picture of one pixel is used, and noted."""
    image = tiles()[20]
    odd = {
        "blank": Image.new("RGB", (96, 96), (20, 80, 200)),
        "dark": ImageEnhance.Brightness(image).enhance(0.12),
        "bright": Image.eval(image, lambda level: 215 + level * 40 // 255),
        "blurred": image.filter(ImageFilter.GaussianBlur(6)),
        "tiny": Image.new("RGB", (1, 1)),
    }
    for name, picture in odd.items():
        (folder / "a" / f"{name}.png").write_bytes(encoded(picture))
    findings = found_in(folder)
    for name in odd:
        assert f"a/{name}.png" in findings[name], name
    assert findings["images"] == 45


def test_a_suffix_that_does_not_match_is_noted_and_none_is_no_mistake(folder: Path) -> None:
    """I21."""
    for name in ("really_png.jpg", "really_jpeg.png", "IMG_0001.JPEG", "no_suffix"):
        (folder / "a" / name).write_bytes(corpus()[name].content)
    assert {(one["image"], one["suffix"], one["format"]) for one in found_in(folder)["mismatched"]} == {
        ("a/really_png.jpg", ".jpg", "PNG"),
        ("a/really_jpeg.png", ".png", "JPEG"),
    }


def test_pictures_in_cmyk_are_counted(folder: Path) -> None:
    """I14."""
    (folder / "a" / "cmyk.jpg").write_bytes(corpus()["cmyk.jpg"].content)
    findings = found_in(folder)
    assert findings["cmyk"] == findings["modes"]["CMYK"] == 1
    assert "cmyk" in said_of(findings)


def test_exact_copies_of_one_class_are_one_set(folder: Path) -> None:
    content = (folder / "a" / "x01x.png").read_bytes()
    for name in ("copy.png", "copy 2.png"):
        (folder / "a" / name).write_bytes(content)
    assert found_in(folder)["exact_copies"] == [{"images": ["a/copy 2.png", "a/copy.png", "a/x01x.png"]}]


def test_above_a_number_of_pictures_near_duplicates_are_not_looked_for_and_that_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8."""
    monkeypatch.setattr("iconoclass.data.duplicates.MOST", 30)
    findings = found_in(folder)
    assert not findings["near_duplicates_searched"]
    assert "near_duplicates_searched" in said_of(findings)


def test_numbers_are_plain_json(folder: Path) -> None:
    import json

    (folder / "a" / "mirrored.png").write_bytes(encoded(tiles()[27].transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    findings = found_in(folder)
    assert json.loads(json.dumps(findings)) == findings
    assert np.isfinite(findings["near_duplicates"][0]["likeness"])
