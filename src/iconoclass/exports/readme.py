"""README.md beside a model file: lines for each language in which it is used, to be pasted as they stand."""

from __future__ import annotations

from iconoclass.exports.page import contract
from iconoclass.exports.verify import Proof
from iconoclass.prediction.card import Card


def readme(file: str, card: Card, proof: Proof) -> str:
    """How to use the file; `photo.jpg` stands for the user's own."""
    suffix = file.rpartition(".")[2] if "." in file else file
    return _README.format(
        file=file,
        run=card.run.replace("`", ""),
        verdict=proof.verdict,
        contract="\n".join(f"- {word}: {' '.join(value.split())}" for word, value in contract(card).items()),
        sizing=_sizing(suffix, card.resize),
        snippets="\n".join(
            f"## {title}\n\n```{language}\n{_filled(lines, file, card)}```\n"
            for title, language, lines in SNIPPETS[suffix]
        ),
    )


def _filled(lines: str, file: str, card: Card) -> str:
    height, width, channels = card.image_shape
    values = {
        "resized": _RESIZED[card.resize],
        "steps": _STEPS[card.resize],
        "store": _STORE[channels],
        "file": file,
        "height": height,
        "width": width,
        "mode": "L" if channels == 1 else "RGB",
        "channels": channels,
    }
    for word, value in values.items():
        lines = lines.replace(f"<{word}>", str(value))
    return lines


def _sizing(suffix: str, rule: str) -> str:
    if suffix == "tflite":
        return (
            "Pictures of another size: the lines for Python bring them to that of the network as training did\n"
            f"({rule}); those for Android squash them, and those for iOS leave it to you."
        )
    return f"The lines below bring pictures of another size to that of the network as training did ({rule})."


_README = """# {file}

Made by Iconoclass of the run `{run}`. {verdict}: see proof.html.

{contract}

`manifest.json` holds all of this for programs, with digests and golden pictures; `labels.txt` the classes, a line each.
The file scales the pixels itself: give them as they are, 0 to 255.
{sizing}

## Iconoclass

```sh
iconoclass predict {file} photo.jpg
iconoclass verify {file}
```

{snippets}"""

# -- Python ----------------------------------------------------------------------------------------------------------

_PIXELS = """\
import numpy as np
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("<mode>")
<resized>
pixels = np.asarray(picture, np.uint8).reshape(1, <height>, <width>, <channels>)
"""
_RESIZED = {
    "crop": "picture = ImageOps.fit(picture, (<width>, <height>), Image.Resampling.BILINEAR)",
    "pad": """\
inner = ImageOps.contain(picture, (<width>, <height>), Image.Resampling.BILINEAR)
picture = Image.new("<mode>", (<width>, <height>))  # black
picture.paste(inner, ((<width> - inner.width) // 2, (<height> - inner.height) // 2))""",
    "squash": "picture = picture.resize((<width>, <height>), Image.Resampling.BILINEAR)",
}
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

_LITERT = f"""\
from ai_edge_litert.interpreter import Interpreter
{_PIXELS}
interpreter = Interpreter("<file>")
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
interpreter.invoke()
probabilities = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
{_ANSWER}"""

# -- JavaScript ------------------------------------------------------------------------------------------------------

# Sizes are brought down here: left to drawImage, most pixels of a photograph are skipped, and answers are others.
_ONNX_WEB = """\
import * as ort from "onnxruntime-web"; // npm install onnxruntime-web

const session = await ort.InferenceSession.create("<file>");
const names = (await (await fetch("labels.txt")).text()).trimEnd().split("\\n");

// picture: a File, an <img>, a <video> or a <canvas>. Gives its likeliest class and the probability of that.
export async function classify(picture) {
  const input = new ort.Tensor("uint8", await pixelsOf(picture), [1, <height>, <width>, <channels>]);
  const probabilities = (await session.run({ pixels: input })).probabilities.data;
  const best = probabilities.indexOf(Math.max(...probabilities));
  return [names[best], probabilities[best]];
}

async function pixelsOf(picture) {
  const bitmap = await createImageBitmap(picture);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
<steps>
  const pixels = new Uint8Array(<height> * <width> * <channels>);
  rows.forEach((above, y) => columns.forEach((beside, x) => {
    let [red, green, blue] = [0, 0, 0];
    for (const [row, a] of above) for (const [column, b] of beside) {
      const at = 4 * (row * width + column);
      red += a * b * data[at];
      green += a * b * data[at + 1];
      blue += a * b * data[at + 2];
    }
    <store>
  }));
  return pixels;
}

// For each new row or column the old ones that it is made of, and their shares, as in training.
function sharesOf(old, count, step, first) {
  const reach = Math.max(step, 1);
  return Array.from({ length: count }, (_, at) => {
    const middle = first + (at + 0.5) * step;
    if (middle < 0 || middle > old) return []; // black
    const shares = [];
    for (let one = Math.max(0, Math.round(middle - reach)); one < Math.min(old, Math.round(middle + reach)); one++) {
      shares.push([one, Math.max(0, 1 - Math.abs(one + 0.5 - middle) / reach)]);
    }
    const sum = shares.reduce((total, [, share]) => total + share, 0);
    return shares.map(([one, share]) => [one, share / sum]);
  });
}
"""
_STEPS = {
    "crop": """
  const step = Math.min(height / <height>, width / <width>); // what reaches over is cut off, the same on both sides
  const rows = sharesOf(height, <height>, step, (height - step * <height>) / 2);
  const columns = sharesOf(width, <width>, step, (width - step * <width>) / 2);
""",
    "pad": """
  const scale = Math.min(<height> / height, <width> / width); // all of it, with black around it
  const [tall, wide] = [height, width].map((side) => Math.max(1, Math.round(side * scale)));
  const rows = sharesOf(height, <height>, height / tall, -Math.floor((<height> - tall) / 2) * (height / tall));
  const columns = sharesOf(width, <width>, width / wide, -Math.floor((<width> - wide) / 2) * (width / wide));
""",
    "squash": """
  const rows = sharesOf(height, <height>, height / <height>, 0);
  const columns = sharesOf(width, <width>, width / <width>, 0);
""",
}
_STORE = {
    1: "pixels[y * <width> + x] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);",
    3: "pixels.set([red, green, blue].map(Math.round), 3 * (y * <width> + x));",
}

# -- phones ----------------------------------------------------------------------------------------------------------

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
