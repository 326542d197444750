// What an answer rests on, laid over its picture when somebody asks for it.

import { explain } from "./asking.js";

// The upper three quarters of cividis (Nuñez, Anderton and Renslow, 2018), in even steps: it reads alike for colour-blind
// eyes, and in grey. Reports and `iconoclass explain` have the same colours.
const SCALE = [
  [67, 78, 108], [90, 95, 110], [111, 112, 115], [132, 130, 121], [155, 148, 118], [180, 167, 111], [205, 187, 99],
  [231, 209, 80], [254, 232, 56],
];
const PLACES = [
  "at the upper left", "at the top", "at the upper right", "on the left", "in the middle", "on the right",
  "at the lower left", "at the bottom", "at the lower right",
];
const BUSY_MS = 150;
const NOWHERE = "No single place decides: whatever is hidden, the answer stays as likely.";

/** Of how much a place counts, 0 to 1: red, green, blue, and how much of the picture they cover. */
export function colour(share) {
  const at = share * (SCALE.length - 1), low = Math.min(Math.floor(at), SCALE.length - 2);
  const mixed = SCALE[low].map((value, channel) => value + (at - low) * (SCALE[low + 1][channel] - value));
  return [...mixed, 255 * (0.15 + 0.65 * share)];
}

/** Where most of it lies, in words, for those who do not see it. */
export function whereMost(values) {
  const rows = values.length, columns = values[0].length;
  const sums = Array(9).fill(0), counts = Array(9).fill(0);
  values.forEach((row, y) => row.forEach((value, x) => {
    const part = 3 * Math.floor((3 * y + 1.5) / rows) + Math.floor((3 * x + 1.5) / columns);
    sums[part] += value; counts[part] += 1;
  }));
  const means = sums.map((sum, part) => sum / Math.max(counts[part], 1));
  return PLACES[means.indexOf(Math.max(...means))];
}

export class Why {
  /** button: asks for it, and takes it away again; note: says in words what it shows; heat: the canvas for it. */
  constructor(button, note, heat) {
    Object.assign(this, { button, note, heat, entry: null });
    button.addEventListener("click", () => (this.isShown ? this.hide() : this.show()));
  }

  get isShown() {
    return this.button.getAttribute("aria-pressed") === "true";
  }

  /** entry: an answered picture {file, name, answer}; stage: what its picture stands on; part: where on it, if not all. */
  offer(entry, stage, part = [0, 0, 1, 1]) {
    this.hide();
    Object.assign(this, { entry, stage, part });
    this.button.hidden = !(entry?.answer && entry.file);
  }

  hide() {
    this.asking?.abort();
    this.button.setAttribute("aria-pressed", "false");
    this.heat.hidden = true;
    this.stage?.classList.remove("explained");
    this.say("");
  }

  async show() {
    const entry = this.entry, asking = this.asking = new AbortController();
    this.button.setAttribute("aria-pressed", "true");
    const busy = setTimeout(() => asking.signal.aborted || this.say("Hiding parts of the picture, and asking again."), BUSY_MS);
    try {
      entry.explained ??= await explain(entry.file, entry.name, asking.signal);
      if (!asking.signal.aborted) this.draw(entry.explained);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.hide();
      this.say(error.message, "wrong");
    } finally {
      clearTimeout(busy);
    }
  }

  draw({ map, class_name }) {
    const { values, rows, columns } = map;
    this.heat.width = columns;
    this.heat.height = rows;
    const pixels = values.flat().flatMap(colour);
    this.heat.getContext("2d").putImageData(new ImageData(Uint8ClampedArray.from(pixels), columns, rows), 0, 0);
    this.place(map.covers);
    this.heat.hidden = false;
    this.stage.classList.add("explained");
    this.stage.append(this.heat);
    const where = values.flat().some(Boolean) ? `The yellower a place, the more “${class_name}” rests on it: most ${whereMost(values)}.` : NOWHERE;
    this.say(this.isCut(map.covers) ? `${where} The dark rest it does not see.` : where);
  }

  /** covers: where in the picture that was sent; part: where that picture lies on the stage. Both as shares. */
  place([left, top, right, bottom]) {
    const [x, y, endX, endY] = this.part, width = endX - x, height = endY - y;
    const percent = (share) => `${100 * share}%`;
    Object.assign(this.heat.style, {
      left: percent(x + left * width), top: percent(y + top * height),
      width: percent((right - left) * width), height: percent((bottom - top) * height),
    });
  }

  isCut([left, top, right, bottom]) {
    return Math.max(left, top, 1 - right, 1 - bottom) > 0.01;
  }

  say(words, className = "muted") {
    this.note.textContent = words;
    this.note.className = className;
  }
}
