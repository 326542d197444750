// A sheet to draw on. What leaves it looks as the pictures of the data set do: as large, as centred, as bright.

const MARK = 40; // brighter than this is ink

/** Grey pixels of an image, ink bright: {pixels, side}, turned around where the paper is bright. */
function inkOf(image, side) {
  const sheet = new OffscreenCanvas(side, side);
  const brush = sheet.getContext("2d");
  brush.drawImage(image, 0, 0, side, side);
  const { data } = brush.getImageData(0, 0, side, side);
  const grey = Float32Array.from({ length: side * side }, (_, at) => data[4 * at]);
  const border = [...grey.keys()].filter((at) => at < side || at >= side * (side - 1) || at % side === 0 || at % side === side - 1);
  const isBright = border.reduce((sum, at) => sum + grey[at], 0) / border.length > 127;
  return { pixels: isBright ? grey.map((value) => 255 - value) : grey, isBright };
}

/** Where the ink is: its box, and its centre of mass. null where there is none. */
function extent(pixels, side) {
  let left = side, top = side, right = -1, bottom = -1, mass = 0, x = 0, y = 0;
  pixels.forEach((ink, at) => {
    const column = at % side, line = Math.floor(at / side);
    mass += ink; x += ink * (column + 0.5); y += ink * (line + 0.5);
    if (ink <= MARK) return;
    left = Math.min(left, column); right = Math.max(right, column);
    top = Math.min(top, line); bottom = Math.max(bottom, line);
  });
  if (right < 0) return null;
  return { left, top, width: right - left + 1, height: bottom - top + 1, x: x / mass, y: y / mass };
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** How the data set was drawn, told by its examples: share of the side that ink takes, and whether paper is bright. */
export async function mannerOf(examples, side) {
  const looks = [];
  for (const { picture } of examples) {
    const image = new Image();
    image.src = picture;
    await image.decode();
    const { pixels, isBright } = inkOf(image, side);
    const found = extent(pixels, side);
    if (found) looks.push({ isBright, share: Math.max(found.width, found.height) / side });
  }
  if (!looks.length) return { isBright: false, share: 20 / 28 };
  return { isBright: looks.filter((look) => look.isBright).length * 2 > looks.length, share: median(looks.map((look) => look.share)) };
}

export class Sheet {
  /** side: of the model's pictures; changed: called when a stroke has moved on. */
  constructor(canvas, side, manner, changed) {
    Object.assign(this, { canvas, side, manner, changed });
    this.brush = canvas.getContext("2d", { willReadFrequently: true });
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.last = null; });
  }

  clear() {
    this.brush.fillStyle = "black";
    this.brush.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.isEmpty = true;
    this.last = null;
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.at(event);
    this.line(this.last);
  }

  go(event) {
    if (!this.last) return;
    for (const step of event.getCoalescedEvents?.() ?? [event]) this.line(this.at(step));
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  line(to) {
    this.brush.strokeStyle = "white";
    this.brush.lineCap = this.brush.lineJoin = "round";
    this.brush.lineWidth = this.canvas.width / 12;
    this.brush.beginPath();
    this.brush.moveTo(...this.last);
    this.brush.lineTo(...to);
    this.brush.stroke();
    this.last = to;
    this.isEmpty = false;
    this.changed();
  }

  /** The drawing as a PNG of the model's size: its box scaled and its centre of mass put where the data set has them.
   *  With it, where on the sheet the PNG lies, as shares of its sides: left, top, right, bottom. null without ink. */
  async picture() {
    const size = this.canvas.width;
    const { data } = this.brush.getImageData(0, 0, size, size);
    const pixels = Float32Array.from({ length: size * size }, (_, at) => data[4 * at]);
    const found = extent(pixels, size);
    if (!found) return null;
    const scale = (this.manner.share * this.side) / Math.max(found.width, found.height);
    const sheet = new OffscreenCanvas(this.side, this.side);
    const brush = sheet.getContext("2d");
    brush.fillStyle = "black";
    brush.fillRect(0, 0, this.side, this.side);
    brush.imageSmoothingQuality = "high";
    const [left, top] = place(found, scale, this.side), across = size * scale;
    brush.drawImage(shrunk(this.canvas, across), left, top, across, across);
    if (this.manner.isBright) {
      brush.globalCompositeOperation = "difference";
      brush.fillStyle = "white";
      brush.fillRect(0, 0, this.side, this.side);
    }
    const part = [-left, -top, this.side - left, this.side - top].map((place) => place / across);
    return { file: await sheet.convertToBlob({ type: "image/png" }), part };
  }
}

function place(found, scale, side) {
  return [side / 2 - found.x * scale, side / 2 - found.y * scale];
}

/** Halved as often as it takes: in one step, thin lines would fall between the pixels. */
function shrunk(source, target) {
  let image = source;
  while (image.width > 2 * target) {
    const half = new OffscreenCanvas(Math.ceil(image.width / 2), Math.ceil(image.height / 2));
    half.getContext("2d").drawImage(image, 0, 0, half.width, half.height);
    image = half;
  }
  return image;
}
