"""proof.html: the proof of a model file, for people. Every word of it is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from iconoclass.exports.verify import Proof, written
from iconoclass.intervals import Estimate, share
from iconoclass.pages import breakable, document, figures
from iconoclass.prediction.card import Card
from iconoclass.prediction.manifest import Manifest


def page(file: str, card: Card, proof: Proof, manifest: Manifest, versions: Mapping[str, str]) -> str:
    """The whole page: the verdict, the figures, golden pictures with their answers, and what the file takes."""
    cells = {
        "same answer": (f"{proof.agreeing:,} of {proof.pictures:,}", ""),
        "largest difference": (written(proof.largest_difference), ""),
        "accuracy of the file": _accuracy(proof.accuracy),
        "accuracy of the run": _accuracy(proof.accuracy_of_run),
    }
    body = [
        f"<h1>{breakable(file)} answers as {breakable(card.run)} does</h1>",
        f"<p class=verdict>Asked about {_pictures(proof)} through the runtime that it is made for.</p>",
        figures(cells),
        _rows("How it was judged", _judged(proof)),
        _golden(card, manifest),
        _rows("What it takes and gives", contract(card)),
        _rows("Made with", versions),
    ]
    return document(file, "\n".join(body), style=_STYLE)


def _pictures(proof: Proof) -> str:
    asked = f"{proof.pictures:,} test pictures"
    if not proof.from_files:
        return asked
    if proof.from_files == proof.pictures:
        return f"{asked} from their own files"
    return f"{asked}, {proof.from_files:,} of them from their own files,"


def _accuracy(estimate: Estimate) -> tuple[str, str]:
    value, _, interval = share(estimate.as_json()).strip().partition(" ")
    return value, interval


def _judged(proof: Proof) -> dict[str, str]:
    judged = {"numbers": proof.numbers}
    if proof.numbers == "float32":
        judged["demanded"] = f"the same class for every picture, probabilities within {proof.tolerance:g}"
    else:
        low, high = 100 * (proof.loss.low or 0), 100 * (proof.loss.high or 0)
        points = f"{100 * proof.max_loss:g} point{'' if proof.max_loss == 0.01 else 's'}"
        judged["demanded"] = f"not surely more than {points} of accuracy lost, and as the run sees it no more either"
        judged["lost by the labels"] = f"{100 * (proof.loss.value or 0):.2f} points, {low:.2f} to {high:.2f}"
        judged["lost as the run sees it"] = f"{100 * proof.expected_loss:.2f} points"
    judged["probabilities differ"] = (
        f"by {written(proof.largest_difference)} at most, {written(proof.mean_difference)} on average"
    )
    judged["near ties"] = (
        f"{proof.near_ties:,}: where the two best classes lie within {2 * proof.tolerance:g}, either is accepted"
    )
    for batch, speed in proof.speed.get("images_per_second", {}).items():
        judged[f"images a second, {batch} at a time"] = f"{speed:,.0f}"
    return judged | ({"note": " ".join(proof.notes)} if proof.notes else {})


def contract(card: Card) -> dict[str, str]:
    height, width, channels = card.image_shape
    colour = "RGB" if channels == 3 else "grey"
    words = {
        "in": f"pixels: uint8 (batch, {height}, {width}, {channels}), {colour}, 0 to 255, not scaled",
        "out": f"probabilities: float32 (batch, {len(card.class_names)})",
        "classes, in order": ", ".join(card.class_names[:100]) + (" …" if len(card.class_names) > 100 else ""),
        "pictures of another size": f"{card.resize}: {_SIZED[card.resize]}",
        "temperature": f"{card.temperature:.3g}, inside the network",
    }
    return words if card.threshold is None else {**words, "unknown below": f"{card.threshold:.3f}"}


_SIZED = {
    "crop": "the size is filled, what reaches over is cut off on both sides",
    "pad": "all of a picture is kept, with black around it",
    "squash": "all of a picture is kept and stretched",
}


def _golden(card: Card, manifest: Manifest) -> str:
    shown = []
    for golden in manifest.golden:
        picture = base64.b64encode(golden.picture).decode()
        caption = f"{golden.class_name} {max(golden.probabilities):.1%}"
        small = " class=small" if max(card.image_shape[:2]) <= 64 else ""
        shown.append(
            f"<figure><img{small} src='data:image/png;base64,{picture}' alt=''>"
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    said = "Kept beside the file with their answers: <code>iconoclass verify</code> asks the file again, anywhere."
    return f"<h2>Golden pictures</h2><p class=muted>{said}</p><div class=pictures>{''.join(shown)}</div>"


def _rows(title: str, rows: Mapping[str, str]) -> str:
    cells = "".join(f"<tr><th>{escape(word)}<td>{escape(value)}" for word, value in rows.items())
    return f"<h2>{title}</h2><table>{cells}</table>"


_STYLE = """
body { max-width: 820px }
.pictures { display: flex; flex-wrap: wrap; gap: 16px }
th, td { vertical-align: top } td { overflow-wrap: anywhere }
figure { margin: 0 } figcaption { color: var(--muted); font-size: 12.5px }
@media (max-width: 480px) { th { white-space: normal; min-width: 118px } }
img { height: 112px; border-radius: 4px } img.small { image-rendering: pixelated }
"""
