// Uploads of datasets: a folder or files as a tar, an archive as it is, with a bar.
// @ts-check
import { splitRoot, sumChanges, takeFiles } from "./files.js";
import { create, explain } from "./page.js";
import { describeProgress, send, Sending } from "./sending.js";
import { packTar } from "./tar.js";
import { RESUMED, upload } from "./tus.js";

const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;
const TABLE = /\.(csv|tsv|jsonl|json)$/i;

/** @param {string} id */
const get = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const zone = get("upload");
const bar = /** @type {HTMLProgressElement} */ (get("upload-bar"));
const sending = new Sending(get("upload-cancel"));

takeFiles(zone, zone, (found) => void start(found), () => {
  if (sending.running) return false;
  show(zone.dataset.reading ?? "");
  return true;
});

/** @param {import("./tar.js").Entry[]} found */
async function start(found) {
  if (!found.length) return fail(zone.dataset.none ?? "");
  if (found.length === 1 && ARCHIVE.test(found[0].path)) {
    const { file } = found[0];
    return sendArchive(file, file.name.replace(ARCHIVE, ""), "auto", file.lastModified);
  }
  const { name: folder, entries } = splitRoot(found);
  const name = folder || (found.length === 1 ? found[0].file.name : (zone.dataset.loose ?? "").replace("{count}", String(found.length)));
  const labelled = entries.some((entry) => entry.path.includes("/") || TABLE.test(entry.path));
  return sendArchive(packTar(entries), name, labelled ? "auto" : "none", sumChanges(entries));
}

/** Send an archive, a large one in pieces. @param {Blob} body @param {string} name @param {string} labels @param {number} changed */
async function sendArchive(body, name, labels, changed) {
  const note = labels === "none" ? ` ${zone.dataset.unlabelled}` : "";
  get("upload-name").textContent = name || (zone.getAttribute("aria-label") ?? "");
  bar.value = 0;
  show(note);
  const signal = sending.begin();
  const report = (/** @type {number} */ sent) => {
    bar.value = body.size ? sent / body.size : 0;
    show(describeProgress((sent < body.size ? zone.dataset.sending : zone.dataset.storing) ?? "", sent, body.size) + note);
  };
  try {
    const make = body.size < RESUMED ? sendWhole : sendInPieces;
    const made = await make(body, name, labels, changed, report, signal);
    sending.end();
    location.assign(`/data/${made.id}`);
  } catch (error) {
    if (signal.aborted) return reset();
    fail(/** @type {Error} */ (error).message || (zone.dataset.broken ?? ""));
  }
}

/** @param {Blob} body @param {string} name @param {string} labels @param {number} _ @param {(sent: number) => void} report @param {AbortSignal} signal */
async function sendWhole(body, name, labels, _, report, signal) {
  const address = `/v1/datasets?${new URLSearchParams({ name: name.slice(0, 255), labels })}`;
  const answer = await send("POST", address, { "Content-Type": "application/octet-stream" }, body, report, signal);
  if (answer.status !== 202) throw new Error(explain(answer.responseText, answer.status));
  return JSON.parse(answer.responseText);
}

/** @param {Blob} body @param {string} name @param {string} labels @param {number} changed @param {(sent: number) => void} report @param {AbortSignal} signal */
async function sendInPieces(body, name, labels, changed, report, signal) {
  const source = { upload: await upload(body, name, `graft-upload-${name}-${body.size}-${changed}`, report, signal) };
  return create("/v1/datasets", { source, name: name.slice(0, 255) || null, labels });
}

/** @param {string} text */
function show(text) {
  get("upload-choice").hidden = true;
  get("upload-error").hidden = true;
  get("upload-state").hidden = false;
  get("upload-text").textContent = text;
}

function reset() {
  sending.end();
  get("upload-choice").hidden = false;
  get("upload-state").hidden = true;
}

/** @param {string} message */
function fail(message) {
  reset();
  get("upload-error").hidden = false;
  /** @type {HTMLElement} */ (get("upload-error").lastElementChild).textContent = message;
}
