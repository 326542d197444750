"""Does the look at pictures find what is wrong with them, and how long does it take?

    python benchmarks/check.py [--pets FOLDER] [--start 20000] [--files 10000] [--only recall|speed] [--sheets FOLDER]

Recall and false alarms: copies are planted among photographs (--pets, default $ICONOCLASS_DATA/cats_dogs), CIFAR-10 and
MNIST, half of them byte for byte and half changed, and every pair is held against what was planted. What was found and
not planted may be a false alarm, or a true near-duplicate that the data set came with, as CIFAR-10 does: --sheets draws
those pairs, for somebody to look at. Speed: synthetic JPEGs of 500 x 400, looked at twice.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import iconoclass as ic

Change = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, left: float, top: float, keep: float = 0.95) -> Image.Image:
    wide, high = image.size
    box = (left * wide, top * high, (left + keep) * wide, (top + keep) * high)
    return image.crop(tuple(map(round, box)))


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, Change] = {
    "encoded anew": jpeg,
    "to 70 %": lambda image: resized(image, 0.7),
    "to 150 %": lambda image: resized(image, 1.5),
    "cropped 5 %, one corner": lambda image: cropped(image, 0.05, 0.05),
    "cropped 5 %, middle": lambda image: cropped(image, 0.025, 0.025),
    "mirrored": mirrored,
    "brighter by 30 %": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker by 30 %": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "contrast 70 %": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "contrast 130 %": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "mirrored, cropped, encoded": lambda image: jpeg(cropped(mirrored(image), 0.01, 0.04)),
}


def pets(folder: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in sorted(folder.rglob("*.jpg")))


def arrays(name: str, start: int, count: int) -> Iterator[bytes]:
    for pixels in ic.load_dataset(name).train.take(np.arange(start, start + count)).squeeze():
        yield encoded(Image.fromarray(pixels))


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def recall(name: str, contents: Iterator[bytes], copies: int, sheets: Path | None) -> None:
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "pictures"
        for label in "ab":
            (folder / label).mkdir(parents=True)
        listed = list(contents)
        for at, content in enumerate(listed):
            (folder / "ab"[at % 2] / f"{at}").write_bytes(content)
        exact, near = set(), {}
        chosen = np.random.default_rng(0).choice(len(listed), 2 * copies, replace=False).tolist()
        for at in chosen[:copies]:
            (folder / "ab"[at % 2] / f"{at} copy").write_bytes(listed[at])
            exact.add(pair_of(at, f"{at} copy"))
        for at, change in zip(chosen[copies:], itertools.cycle(CHANGES), strict=False):
            with Image.open(io.BytesIO(listed[at])) as image:
                (folder / "ab"[at % 2] / f"{at} near").write_bytes(encoded(CHANGES[change](image)))
            near[pair_of(at, f"{at} near")] = change
        os.environ["ICONOCLASS_CACHE"] = f"{room}/cache"
        began = time.perf_counter()
        findings = ic.check(folder).findings
        seconds = time.perf_counter() - began
        found = {frozenset(one["images"]) for one in (*findings["near_duplicates"], *findings["conflicts"])}
        if sheets:
            draw(sheets / f"{name}.png", [[folder / image for image in sorted(pair)] for pair in found - set(near)])
    found_exact = {frozenset(one["images"]) for one in findings["exact_copies"]}
    missed = [change for pair, change in near.items() if pair not in found]
    others = len(found - set(near))
    print(
        f"{name:<10} {findings['images']:>6,} pictures  exact {len(found_exact & exact)} of {copies}"
        f"  near {len(found & set(near))} of {copies}  not planted {others} of {len(found)}  {seconds:.1f} s"
        + (f"  missed: {', '.join(missed)}" if missed else "")
    )


def draw(sheet: Path, pairs: list[list[Path]]) -> None:
    """Each pair side by side, eight pairs to a row."""
    side, rows = 96, -(-len(pairs) // 8)
    whole = Image.new("RGB", (8 * (2 * side + 16), max(1, rows) * (side + 16)), "white")
    for at, pair in enumerate(sorted(pairs)):
        for place, path in enumerate(pair):
            with Image.open(path) as image:
                small = image.convert("RGB").resize((side, side), Image.Resampling.NEAREST)
            whole.paste(small, (at % 8 * (2 * side + 16) + place * side, at // 8 * (side + 16)))
    sheet.parent.mkdir(parents=True, exist_ok=True)
    whole.save(sheet)


def pair_of(at: int, name: str) -> frozenset[str]:
    return frozenset({f"{'ab'[at % 2]}/{at}", f"{'ab'[at % 2]}/{name}"})


def synthetic(seed: int) -> Image.Image:
    """Noise at several scales: about as many bytes, and as much detail, as a photograph has."""
    random = np.random.default_rng(seed)
    mixed = np.zeros((400, 500, 3), np.float32)
    for step, weight in ((100, 0.5), (20, 0.3), (4, 0.2)):
        noise = random.integers(0, 256, (400 // step, 500 // step, 3), np.uint8)
        mixed += np.asarray(Image.fromarray(noise).resize((500, 400)), np.float32) * weight
    return Image.fromarray(mixed.astype(np.uint8))


def speed(count: int) -> None:
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "pictures"
        for label in "ab":
            (folder / label).mkdir(parents=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            written = pool.map(
                lambda at: synthetic(at).save(folder / "ab"[at % 2] / f"{at}.jpg", quality=90), range(count)
            )
            for _ in written:
                pass
        size = sum(path.stat().st_size for path in folder.rglob("*.jpg")) / count
        time.sleep(4)  # what has just been written is not trusted to be unchanged
        os.environ["ICONOCLASS_CACHE"] = f"{room}/cache"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for look in ("first", "second"):
            began = time.perf_counter()
            ic.check(folder)
            seconds = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{look} look at {count:,} JPEGs of 500 x 400, {size / 1000:.0f} kB each: {seconds:.1f} s,"
                f" {count / seconds:,.0f} pictures/s, {peak:,.0f} MiB at most ({before:,.0f} before)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = Path(os.environ.get("ICONOCLASS_DATA", "."))
    parser.add_argument("--pets", type=Path, default=given / "cats_dogs")
    parser.add_argument("--start", type=int, default=20_000, help="of CIFAR-10 and MNIST; thresholds were set on 0")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--only", choices=["recall", "speed"])
    parser.add_argument("--sheets", type=Path, help="folder for a picture of the pairs that were not planted")
    asked = parser.parse_args()
    if asked.only != "speed":
        sources = {
            "photographs": pets(asked.pets),
            "cifar10": arrays("cifar10", asked.start, 3000),
            "mnist": arrays("mnist", asked.start, 3000),
        }
        for name, contents in sources.items():
            recall(name, contents, 100, asked.sheets)
    if asked.only != "recall":
        speed(asked.files)


if __name__ == "__main__":
    main()
