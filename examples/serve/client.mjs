// Ask a server about pictures: node client.mjs http://localhost:8000 PICTURE... In a page, a File does as well.

import { readFile } from "node:fs/promises";

const [address, ...pictures] = process.argv.slice(2);
const key = process.env.ICONOCLASS_API_KEY;
const form = new FormData();
for (const picture of pictures) form.append("file", new Blob([await readFile(picture)]), picture);
const headers = key ? { authorization: `Bearer ${key}` } : {};
const answer = await fetch(`${address}/predict`, { method: "POST", body: form, headers });
if (!answer.ok) throw new Error((await answer.json()).detail);
const { predictions } = await answer.json();
predictions.forEach(({ class_name, confidence, error }, at) => {
  console.log([pictures[at], class_name ?? error.detail, confidence?.toFixed(3)].join("\t"));
});
