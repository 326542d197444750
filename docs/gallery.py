"""The pictures of docs/gallery.md and of the README, made by the tool itself: python docs/gallery.py

From the digits that ship with scikit-learn and from drawings made here: circles, crosses and triangles in all sizes,
some of them labelled wrongly on purpose. Needs a Chromium for the pages. Takes about two minutes.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import iconoclass as ic

IMAGES = Path(__file__).parent / "images"
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"]
SIDE = 64


def draw_shapes(folder: Path, of_each: int = 160) -> Path:
    """Drawings of three classes, with noise, in files; one in forty lies in the wrong folder."""
    random = np.random.default_rng(0)
    names = ["circle", "cross", "triangle"]
    for name in names:
        (folder / name).mkdir(parents=True)
    for label, name in enumerate(names):
        for at in range(of_each):
            home = names[(label + 1) % 3] if at % 40 == 17 else name
            shape(name, random).save(folder / home / f"{name[:2]}{at:03}.png")
    return folder


def shape(name: str, random: np.random.Generator) -> Image.Image:
    paper = tuple(int(light) for light in random.integers(170, 256, 3))
    image = Image.new("RGB", (SIDE, SIDE), paper)
    pen = ImageDraw.Draw(image)
    radius = int(random.integers(9, 22))
    x, y = random.integers(radius + 4, SIDE - radius - 4, 2).tolist()
    colour, width = COLOURS[random.integers(len(COLOURS))], int(random.integers(3, 7))
    if name == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
    else:
        turn = random.uniform(0, 2 * np.pi)
        count = 4 if name == "cross" else 3
        points = [
            (x + radius * np.cos(turn + 2 * np.pi * k / count), y + radius * np.sin(turn + 2 * np.pi * k / count))
            for k in range(count)
        ]
        for one, other in [(0, 2), (1, 3)] if name == "cross" else [(0, 1), (1, 2), (2, 0)]:
            pen.line([points[one], points[other]], fill=colour, width=width)
    noisy = np.asarray(image, np.float32) + random.normal(0, 14, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def keep(image: Image.Image, name: str, width: int = 1000) -> None:
    """As small as it can be without showing it: a repository is for ever."""
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.convert("RGB").save(IMAGES / f"{name}.webp", quality=82, method=6)


def photograph(
    page: Any, path: Path, name: str, *, height: int, width: int = 1120, dark: bool = False, at: str = ""
) -> None:
    """A page as a picture, from its top, or from the element that a selector finds."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.goto(path.resolve().as_uri())
    top = page.evaluate(
        "selector => selector ? document.querySelector(selector).getBoundingClientRect().top - 16 : 0", at
    )
    clip = {"x": 0, "y": top, "width": width, "height": height}
    keep(Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))), name)


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        os.chdir(folder)
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        page = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
        digits = ic.train("digits", epochs=20)
        for dark in (False, True):
            name = f"first-minute{'-dark' if dark else ''}"
            photograph(page, digits.report_path, name, height=880, dark=dark, at="h1")
        shapes = draw_shapes(Path("shapes"))
        data = ic.load_dataset(shapes)
        run = ic.train(data, model="resnet", width=12, epochs=8, name="shapes")
        ic.suspects(run, dataset=data)
        ic.evaluate(run, dataset=data)
        for name in ("curves", "confusion_matrix", "confused_pairs"):
            keep(Image.open(run.plot_path(name)), f"gallery-{name}")
        preview = io.BytesIO()
        ic.preview(data, images=5, model="resnet").savefig(preview, format="png")
        keep(Image.open(preview), "gallery-augmentation", width=760)
        checked = ic.check(shapes).save(Path(folder) / "check")
        photograph(page, checked / "check.html", "gallery-check", height=760)
        explained = ic.explain(run, sorted(shapes.glob("*/*000.png")), dataset=data)
        keep(Image.open(explained.save(Path(folder) / "explain.png")), "gallery-explanation")
        [exported] = ic.export(run, "onnx", data=data)
        photograph(page, exported.folder / "proof.html", "gallery-proof", height=700)


if __name__ == "__main__":
    main()
    sys.exit(0)
