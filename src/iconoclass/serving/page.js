// The page: a place for a picture, its answer beside it, and all answers below.

import { ask, describe } from "./asking.js";
import { Camera } from "./camera.js";
import { mannerOf, Sheet } from "./canvas.js";
import { Gallery } from "./gallery.js";
import { Why } from "./why.js";

const LARGEST_SHEET = 64; // models of larger pictures were not trained on drawings
const INVITATION = "The answer will stand here.";
const at = (id) => document.getElementById(id);
const gallery = new Gallery(at("gallery"), at("count"), (entry) => { choose("picture"); show(entry); });
const camera = new Camera(at("view"), at("camera-note"));
const why = new Why(at("why"), at("why-note"), at("heat"));
const latest = {}; // of each way in, what was last shown there
let newest = 0, chosen = "picture";

function percent(share) {
  return `${(100 * share).toFixed(share > 0.9995 ? 0 : 1)} %`;
}

/** A picture and what came of it, in the large place; or of a drawing, what came of it. */
function show(entry, way = "picture") {
  latest[way] = entry;
  if (way === "picture") place(entry);
  if (way === chosen) tell(entry);
}

function place({ url, problem }) {
  if (at("shown").src !== url) at("shown").src = url;
  at("shown").hidden = Boolean(problem);
  at("invitation").hidden = true;
  at("problem").hidden = !problem;
  at("problem").textContent = problem ?? "";
}

function tell(entry = {}) {
  const { answer, problem, part } = entry, isDrawn = chosen === "draw";
  at("answer").classList.toggle("unknown", Boolean(answer?.unknown));
  at("word").textContent = answer ? (answer.unknown ? "unknown" : answer.class_name) : "";
  at("sure").textContent = answer && !answer.unknown ? percent(answer.confidence) : entry.url || entry.file ? "" : INVITATION;
  at("reason").textContent = answer?.unknown ? `${answer.unknown}; it is most like ${answer.class_name}` : problem && isDrawn ? problem : "";
  at("bars").replaceChildren(...(answer?.top ?? []).map(bar));
  why.offer(entry, at(isDrawn ? "easel" : "stage"), part);
}

function bar({ class_name, probability }) {
  const item = document.createElement("li");
  const name = item.appendChild(document.createElement("span"));
  name.textContent = name.title = class_name;
  item.appendChild(document.createElement("span")).textContent = percent(probability);
  const track = item.appendChild(document.createElement("div"));
  track.className = "bar";
  track.appendChild(document.createElement("i")).style.width = `${100 * probability}%`;
  return item;
}

async function answered(blob, name) {
  try {
    return { answer: await ask(blob, name) };
  } catch (error) {
    return { problem: error.message };
  }
}

/** Pictures from wherever: all are asked about, the first is shown at once and the last to come stays. */
async function take(files) {
  const pictures = [...files];
  if (!pictures.length) return;
  choose("picture");
  const mine = ++newest;
  let left = pictures.length;
  at("history").hidden = false;
  gallery.tell(left);
  at("answer").setAttribute("aria-busy", "true");
  await Promise.all(pictures.map(async (file, place) => {
    const url = URL.createObjectURL(file);
    if (place === 0) show({ url });
    const name = file.name || "picture";
    const entry = { url, file, name, ...(await answered(file, name)) };
    left -= 1;
    gallery.add(entry);
    gallery.tell(left);
    if (place === 0 && mine === newest) show(entry);
  }));
  at("answer").setAttribute("aria-busy", "false");
}

at("shown").addEventListener("load", () => {
  const { naturalWidth, naturalHeight } = at("shown");
  at("shown").classList.toggle("small", naturalWidth <= 64);
  at("stage").style.setProperty("--shape", naturalWidth / naturalHeight);
});
at("files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take(event.dataTransfer.files);
});

// -- the three ways in: tabs, with the arrow keys ---------------------------------------------------------------------

const WAYS = { picture: "place", draw: "drawing", camera: "camera" };

function choose(way) {
  chosen = way;
  tell(latest[way]);
  for (const [name, panel] of Object.entries(WAYS)) {
    const tab = at(`way-${name}`);
    tab.setAttribute("aria-selected", String(name === way));
    tab.tabIndex = name === way ? 0 : -1;
    at(panel).hidden = name !== way;
  }
  if (way === "camera") camera.start();
  else camera.stop();
}

for (const name of Object.keys(WAYS)) at(`way-${name}`).addEventListener("click", () => choose(name));
at("ways").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const ways = Object.keys(WAYS).filter((name) => !at(`way-${name}`).hidden);
  const now = ways.findIndex((name) => at(`way-${name}`).getAttribute("aria-selected") === "true");
  const next = ways[(now + step + ways.length) % ways.length];
  choose(next);
  at(`way-${next}`).focus();
});

at("shoot").addEventListener("click", async () => {
  const picture = await camera.picture();
  if (picture) take([new File([picture], "camera.jpg", { type: picture.type })]);
});

// -- drawing ----------------------------------------------------------------------------------------------------------

/** The answer follows the pen: one question at a time, and always about the latest drawing. */
function follow(sheet) {
  let isAsking = false, isDue = false;
  return async function asked() {
    isDue = true;
    if (isAsking) return;
    isAsking = true;
    at("answer").setAttribute("aria-busy", "true");
    while (isDue) {
      isDue = false;
      const picture = await sheet().picture();
      if (picture) show({ ...picture, name: "drawing.png", ...(await answered(picture.file, "drawing.png")) }, "draw");
    }
    isAsking = false;
    at("answer").setAttribute("aria-busy", "false");
  };
}

async function offerSheet({ image, examples }) {
  if (image.channels !== 1 || Math.max(image.height, image.width) > LARGEST_SHEET || image.height !== image.width) return;
  let sheet = null;
  sheet = new Sheet(at("sheet"), image.width, await mannerOf(examples, image.width), follow(() => sheet));
  const clear = () => { sheet.clear(); show({}, "draw"); };
  at("clear").addEventListener("click", clear);
  at("sheet").addEventListener("keydown", (event) => { if (event.key === "Escape" || event.key === "Delete") clear(); });
  at("way-draw").hidden = false;
}

// -- below ------------------------------------------------------------------------------------------------------------

at("csv").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([gallery.csv()], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
at("forget").addEventListener("click", () => { gallery.clear(); at("history").hidden = true; at("files").focus(); });

function offerExamples(examples) {
  examples.forEach(({ class_name, picture }, place) => {
    const button = at("examples").lastElementChild.appendChild(document.createElement("button"));
    const image = button.appendChild(new Image());
    image.alt = `Example: ${class_name}`;
    image.src = picture;
    image.decode().then(() => image.classList.toggle("small", image.naturalWidth <= 64)).catch(() => {});
    button.addEventListener("click", () => take([fileOf(picture, `example-${place + 1}.png`)]));
  });
  at("examples").hidden = !examples.length;
}

/** The bytes of a data: URL. fetch() would need a wider policy. */
function fileOf(url, name) {
  const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
  return new File([bytes], name, { type: "image/png" });
}

try {
  const model = await describe();
  const { height, width, channels } = model.image;
  document.title = `${model.name} · Iconoclass`;
  at("name").textContent = model.name;
  at("bars").style.setProperty("--rows", Math.min(5, model.class_names.length));
  at("about").textContent = `${model.class_names.length} classes, ${channels === 1 ? "grey" : "colour"}, ${height} × ${width} · version ${model.version}`;
  at("report").hidden = !model.has_report;
  at("way-camera").hidden = !Camera.isThere;
  offerExamples(model.examples);
  await offerSheet(model);
} catch (error) {
  at("problem").textContent = error.message;
  at("problem").hidden = false;
  at("invitation").hidden = true;
}
document.documentElement.dataset.isReady = "true";
