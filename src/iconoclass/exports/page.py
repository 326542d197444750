"""proof.html and README.md: what stands beside a model file for people. Every word of the page is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from iconoclass.exports.verify import Proof
from iconoclass.intervals import share
from iconoclass.prediction.card import Card
from iconoclass.prediction.manifest import Manifest


def page(file: str, card: Card, proof: Proof, manifest: Manifest, versions: Mapping[str, str]) -> str:
    """The whole page: the verdict, the figures, golden pictures with their answers, and what the file takes."""
    figures = {
        "same answer": f"{proof.agreeing:,} of {proof.pictures:,}",
        "largest difference": f"{proof.largest_difference:.1e}",
        "accuracy of the file": share(proof.accuracy.as_json()).strip(),
        "accuracy of the run": share(proof.accuracy_of_run.as_json()).strip(),
    }
    cells = "".join(f"<div><b>{escape(value)}</b><span>{word}</span></div>" for word, value in figures.items())
    body = [
        f"<h1>{escape(file)} answers as {escape(card.run)} does</h1>",
        f"<p>Asked about {proof.pictures:,} test pictures, {proof.from_files:,} of them from their own files, "
        "through the runtime that it is made for.</p>",
        f"<div class=figures>{cells}</div>",
        _rows("How it was judged", _judged(proof)),
        _golden(card, manifest),
        _rows("What it takes and gives", _contract(card)),
        _rows("Made with", versions),
    ]
    return _PAGE.format(title=escape(file), style=_STYLE, body="\n".join(body))


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
    return judged | {f"note {place}": note for place, note in enumerate(proof.notes, 1)}


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
    return contract if card.threshold is None else {**contract, "not sure below": f"{card.threshold:g}"}


def _golden(card: Card, manifest: Manifest) -> str:
    figures = []
    for golden in manifest.golden:
        picture = base64.b64encode(golden.picture).decode()
        caption = f"{golden.class_name} {max(golden.probabilities):.1%}"
        small = " class=small" if max(card.image_shape[:2]) <= 64 else ""
        figures.append(
            f"<figure><img{small} src='data:image/png;base64,{picture}' alt=''>"
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return f"<h2>Golden pictures</h2><div class=pictures>{''.join(figures)}</div>"


def _rows(title: str, rows: Mapping[str, str]) -> str:
    cells = "".join(f"<tr><th>{escape(word)}<td>{escape(value)}" for word, value in rows.items())
    return f"<h2>{title}</h2><table>{cells}</table>"


_STYLE = """
:root { --paper: #fff; --raised: #f7f8fa; --ink: #1b1f24; --muted: #5b6472; --line: #e3e6eb; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1216; --raised: #171b21; --ink: #e7eaee; --muted: #9aa4b2; --line: #2a3038 }
}
body { margin: 2rem auto; max-width: 72ch; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 22px; overflow-wrap: anywhere } h2 { font-size: 15px; margin-top: 2rem }
.figures, .pictures { display: flex; flex-wrap: wrap; gap: 1rem }
.figures div { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem }
.figures b { display: block; font-variant-numeric: tabular-nums } .figures span, figcaption { color: var(--muted);
  font-size: 12.5px }
table { border-collapse: collapse }
th { text-align: left; font-weight: normal; color: var(--muted); vertical-align: top; white-space: nowrap }
td, th { border-bottom: 1px solid var(--line); padding: .25rem 1rem .25rem 0; overflow-wrap: anywhere }
figure { margin: 0 } img { height: 112px } img.small { image-rendering: pixelated }
"""

_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title><style>{style}</style>
{body}
</html>
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
