// What the page asks of the API: never more at once than the server likes, and again when it says "later".

const AT_ONCE = 4;
const KEY = "iconoclass-key";
const waiting = [];
let running = 0;

export class Problem extends Error {}

/** The model that answers: names, size, examples. */
export async function describe() {
  return (await send("/model")).json();
}

/** One answer about one picture. Raises Problem, in the words of the API. */
export function ask(blob, name) {
  return new Promise((resolve, reject) => {
    waiting.push({ blob, name, resolve, reject });
    next();
  });
}

/** One picture's answer, and the map of what it rests on. signal: of whoever does not want it any more. */
export async function explain(blob, name, signal) {
  return (await send("/explain", { method: "POST", body: formOf(blob, name), signal })).json();
}

function formOf(blob, name) {
  const form = new FormData();
  form.append("file", blob, name);
  return form;
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  const { blob, name, resolve, reject } = waiting.shift();
  running += 1;
  try {
    const content = await (await send("/predict", { method: "POST", body: formOf(blob, name) })).json();
    resolve({ ...content.predictions[0], model: content.model });
  } catch (error) {
    reject(error);
  } finally {
    running -= 1;
    next();
  }
}

const MOST_LOSSES = 3; // a worker of the server that dies takes others' pictures with it

async function send(path, options = {}) {
  for (let losses = 0; ;) {
    const answer = await reached(path, options);
    if (answer.ok) return answer;
    if (answer.status === 401) await askForKey();
    else if (answer.status === 429 || (answer.status === 503 && losses++ < MOST_LOSSES)) await later(Number(answer.headers.get("retry-after")) || 1);
    else throw new Problem((await answer.json().catch(() => ({}))).detail || "The server did not answer as it should.");
  }
}

async function reached(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  try {
    return await fetch(path, { ...options, headers });
  } catch {
    throw new Problem("The server cannot be reached. Is it still running?");
  }
}

const later = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

let asking = null;

function askForKey() {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("ask-key");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, document.getElementById("key").value);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
