// The answers so far, newest first, and the same as CSV.

const MOST = 500; // pictures that the page keeps; the CSV has all answers

export class Gallery {
  constructor(list, count, chosen) {
    Object.assign(this, { list, count, chosen, rows: [] });
  }

  add(entry) {
    this.rows.push({ name: entry.name, ...entry.answer, problem: entry.problem });
    const item = document.createElement("li");
    const button = item.appendChild(document.createElement("button"));
    const image = button.appendChild(new Image());
    image.alt = "";
    image.src = entry.url;
    image.addEventListener("error", () => { image.style.visibility = "hidden"; });
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 64));
    button.append(line(entry.problem ? "✗ refused" : said(entry.answer)), line(entry.name, "muted"));
    button.addEventListener("click", () => this.chosen(entry));
    this.list.prepend(item);
    if (this.list.children.length > MOST) this.drop(this.list.lastElementChild);
    this.tell();
  }

  tell(left = 0) {
    const refused = this.rows.filter((row) => row.problem).length;
    const words = [`${this.rows.length}`, refused && `${refused} refused`, left && `${left} to come`];
    this.count.textContent = words.filter(Boolean).join(", ");
  }

  drop(item) {
    URL.revokeObjectURL(item.querySelector("img").src);
    item.remove();
  }

  clear() {
    [...this.list.children].forEach((item) => this.drop(item));
    this.rows = [];
    this.tell();
  }

  csv() {
    const header = ["image", "class_name", "confidence", "unknown", "error"];
    const rows = this.rows.map((row) => [row.name, row.class_name, row.confidence, row.unknown, row.problem]);
    return [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }
}

function said(answer) {
  return answer.unknown ? `unknown (${answer.class_name}?)` : `${answer.class_name} ${(100 * answer.confidence).toFixed(0)} %`;
}

function line(text, className = "") {
  const span = document.createElement("span");
  span.textContent = span.title = text;
  span.className = className;
  return span;
}

// A cell that begins like a formula would be run by a spreadsheet.
function cell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
