"""proof.html and README.md: what stands beside a model file for people. Every word of the page is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from iconoclass.exports.verify import Proof
from iconoclass.intervals import Estimate, share
from iconoclass.pages import breakable, document, figures
from iconoclass.prediction.card import Card
from iconoclass.prediction.manifest import Manifest


def page(file: str, card: Card, proof: Proof, manifest: Manifest, versions: Mapping[str, str]) -> str:
    """The whole page: the verdict, the figures, golden pictures with their answers, and what the file takes."""
    cells = {
        "same answer": (f"{proof.agreeing:,} of {proof.pictures:,}", ""),
        "largest difference": (f"{proof.largest_difference:.1e}", ""),
        "accuracy of the file": _accuracy(proof.accuracy),
        "accuracy of the run": _accuracy(proof.accuracy_of_run),
    }
    from_files = f", {proof.from_files:,} of them from their own files," if proof.from_files else ""
    body = [
        f"<h1>{breakable(file)} answers as {breakable(card.run)} does</h1>",
        f"<p class=verdict>Asked about {proof.pictures:,} test pictures{from_files} through the runtime that it is "
        "made for.</p>",
        figures(cells),
        _rows("How it was judged", _judged(proof)),
        _golden(card, manifest),
        _rows("What it takes and gives", _contract(card)),
        _rows("Made with", versions),
    ]
    return document(file, "\n".join(body), style=_STYLE)


def _accuracy(estimate: Estimate) -> tuple[str, str]:
    value, _, interval = share(estimate.as_json()).strip().partition(" ")
    return value, interval


def _judged(proof: Proof) -> dict[str, str]:
    low, high = 100 * (proof.loss.low or 0), 100 * (proof.loss.high or 0)
    judged = {"numbers": proof.numbers}
    if proof.numbers == "float32":
        judged["demanded"] = f"the same class for every picture, probabilities within {proof.tolerance:g}"
        judged["near ties"] = (
            f"{proof.near_ties}: the two best classes lie within {2 * proof.tolerance:g}; counted as the same"
        )
    else:
        judged["demanded"] = f"not surely more than {100 * proof.max_loss:g} points of accuracy lost"
        judged["accuracy lost"] = f"{100 * (proof.loss.value or 0):.2f} points, {low:.2f} to {high:.2f}"
    for batch, speed in proof.speed.get("images_per_second", {}).items():
        judged[f"images a second, {batch} at a time"] = f"{speed:,.0f}"
    return judged | ({"note": " ".join(proof.notes)} if proof.notes else {})


def _contract(card: Card) -> dict[str, str]:
    height, width, channels = card.image_shape
    colour = "RGB" if channels == 3 else "grey"
    contract = {
        "in": f"pixels: uint8 (batch, {height}, {width}, {channels}), {colour}, 0 to 255, not scaled",
        "out": f"probabilities: float32 (batch, {len(card.class_names)})",
        "classes, in order": ", ".join(card.class_names[:100]) + (" …" if len(card.class_names) > 100 else ""),
        "pictures of another size": card.resize,
        "temperature": f"{card.temperature:g}, inside the network",
    }
    return contract if card.threshold is None else {**contract, "unknown below": f"{card.threshold:.3f}"}


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
    return f"<h2>Golden pictures</h2><div class=pictures>{''.join(shown)}</div>"


def _rows(title: str, rows: Mapping[str, str]) -> str:
    cells = "".join(f"<tr><th>{escape(word)}<td>{escape(value)}" for word, value in rows.items())
    return f"<h2>{title}</h2><table>{cells}</table>"


_STYLE = """
body { max-width: 820px }
.pictures { display: flex; flex-wrap: wrap; gap: 16px }
th { vertical-align: top } td { overflow-wrap: anywhere }
figure { margin: 0 } figcaption { color: var(--muted); font-size: 12.5px }
img { height: 112px; border-radius: 4px } img.small { image-rendering: pixelated }
"""


# -- README.md -------------------------------------------------------------------------------------------------------


def readme(file: str, card: Card, proof: Proof) -> str:
    """How to use the file, with lines that can be pasted; `photo.jpg` and the classes stand for the user's own."""
    height, width, channels = card.image_shape
    suffix = file.rpartition(".")[2] if "." in file else file
    values = {
        "file": file,
        "height": height,
        "width": width,
        "mode": "L" if channels == 1 else "RGB",
        "channels": channels,
    }
    snippets = "\n".join(f"## {title}\n\n```{language}\n{code}```\n" for title, language, code in SNIPPETS[suffix])
    for word, value in values.items():
        snippets = snippets.replace(f"<{word}>", str(value))
    return _README.format(
        file=file,
        run=card.run.replace("`", ""),
        verdict=proof.verdict,
        contract="\n".join(f"- {word}: {' '.join(value.split())}" for word, value in _contract(card).items()),
        resize=card.resize,
        snippets=snippets,
    )


_README = """# {file}

Made by Iconoclass of the run `{run}`. {verdict}: see proof.html.

{contract}

`manifest.json` holds all of this for programs, with digests and golden pictures; `labels.txt` the classes, a line each.
The file scales the pixels itself: give them as they are, 0 to 255. Pictures of another size are brought to that of the
network first: by the lines below squashed, by Iconoclass as in training ({resize}).

## Iconoclass

```sh
iconoclass predict {file} photo.jpg
iconoclass verify {file}
```

{snippets}"""

_PIXELS = """\
import numpy as np
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("<mode>").resize((<width>, <height>))
pixels = np.asarray(picture, np.uint8).reshape(1, <height>, <width>, <channels>)
"""
_ANSWER = """\
names = open("labels.txt", encoding="utf-8").read().splitlines()
best = int(probabilities.argmax())
print(names[best], float(probabilities[best]))
"""

_KERAS = f"""\
import keras
{_PIXELS}
model = keras.models.load_model("<file>", compile=False)
probabilities = model.predict(pixels, verbose=0)[0]
{_ANSWER}"""

_SAVED_MODEL = f"""\
import tensorflow as tf
{_PIXELS}
model = tf.saved_model.load("<file>")
probabilities = model.signatures["serving_default"](pixels=tf.constant(pixels))["probabilities"].numpy()[0]
{_ANSWER}"""

_ONNX = f"""\
import onnxruntime
{_PIXELS}
session = onnxruntime.InferenceSession("<file>")
probabilities = session.run(None, {{"pixels": pixels}})[0][0]
{_ANSWER}"""

_ONNX_WEB = """\
import * as ort from "onnxruntime-web";

const canvas = new OffscreenCanvas(<width>, <height>);
const context = canvas.getContext("2d");
context.drawImage(image, 0, 0, <width>, <height>);              // an <img>, a <video> or an ImageBitmap
const rgba = context.getImageData(0, 0, <width>, <height>).data;
const pixels = new Uint8Array(<height> * <width> * <channels>);
for (let i = 0; i < <height> * <width>; i++) {
  const [red, green, blue] = rgba.subarray(4 * i, 4 * i + 3);
  if (<channels> === 3) pixels.set([red, green, blue], 3 * i);
  else pixels[i] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
}
const session = await ort.InferenceSession.create("<file>");
const input = new ort.Tensor("uint8", pixels, [1, <height>, <width>, <channels>]);
const { probabilities } = await session.run({ pixels: input });
console.log(probabilities.data);                                // in the order of labels.txt
"""

_LITERT = f"""\
from ai_edge_litert.interpreter import Interpreter
{_PIXELS}
interpreter = Interpreter("<file>")
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
interpreter.invoke()
probabilities = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
{_ANSWER}"""

_ANDROID = """\
val small = Bitmap.createScaledBitmap(bitmap, <width>, <height>, true)
val pixels = ByteBuffer.allocateDirect(<height> * <width> * <channels>)
for (y in 0 until <height>) for (x in 0 until <width>) {
    val colour = small.getPixel(x, y)
    val (red, green, blue) = listOf(Color.red(colour), Color.green(colour), Color.blue(colour))
    if (<channels> == 3) pixels.put(red.toByte()).put(green.toByte()).put(blue.toByte())
    else pixels.put((0.299 * red + 0.587 * green + 0.114 * blue).roundToInt().toByte())
}
pixels.rewind()
val names = assets.open("labels.txt").bufferedReader().readLines()
val probabilities = Array(1) { FloatArray(names.size) }
Interpreter(FileUtil.loadMappedFile(context, "<file>")).use { it.run(pixels, probabilities) }
"""

_IOS = """\
let interpreter = try Interpreter(modelPath: Bundle.main.path(forResource: "model", ofType: "tflite")!)
try interpreter.allocateTensors()
try interpreter.copy(pixels, toInputAt: 0)  // Data: <height> rows of <width> pixels of <channels> bytes
try interpreter.invoke()
let probabilities = try interpreter.output(at: 0).data.withUnsafeBytes { Array($0.bindMemory(to: Float32.self)) }
"""

SNIPPETS: dict[str, list[tuple[str, str, str]]] = {
    "keras": [("Python, Keras", "python", _KERAS)],
    "h5": [("Python, Keras", "python", _KERAS)],
    "saved_model": [("Python, TensorFlow", "python", _SAVED_MODEL)],
    "onnx": [("Python, ONNX Runtime", "python", _ONNX), ("JavaScript, onnxruntime-web", "js", _ONNX_WEB)],
    "tflite": [
        ("Python, LiteRT", "python", _LITERT),
        ("Android, Kotlin", "kotlin", _ANDROID),
        ("iOS, Swift", "swift", _IOS),
    ],
}
