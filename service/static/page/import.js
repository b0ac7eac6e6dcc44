// Uploads a pretrained network of one's own with what its file does not say, or answers what its import asked for.
// @ts-check
import { splitRoot, sumChanges, takeFiles } from "./files.js";
import { create, explain } from "./page.js";
import { describeProgress, send, Sending } from "./sending.js";
import { packTar } from "./tar.js";
import { RESUMED, upload } from "./tus.js";

/** @typedef {import("./tar.js").Entry} Entry */
/** @typedef {{blob: Blob, name: string, key: string}} Chosen */

/** @type {Record<string, [number[], number[]]>} */
const VALUES = {
  imagenet: [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
  minus_one_to_one: [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
  zero_to_one: [[0, 0, 0], [1, 1, 1]],
  zero_to_255: [[0, 0, 0], [1 / 255, 1 / 255, 1 / 255]],
};

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("import"));
if (form) begin(form);

/** @param {HTMLFormElement} form */
function begin(form) {
  const get = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const start = /** @type {HTMLButtonElement} */ (get("import-start"));
  const prepared = /** @type {HTMLSelectElement} */ (get("prepared"));
  /** @type {Chosen | null} */
  let chosen = null;
  const sending = new Sending(get("import-cancel"));

  /** @param {Entry[]} found */
  function choose(found) {
    if (!found.length || sending.running) return;
    const { name, entries } = splitRoot(found);
    const [{ file }] = entries;
    const [blob, title] = entries.length === 1 && !name ? [file, file.name] : [packTar(entries), name || file.name];
    chosen = { blob, name: title, key: `graft-backbone-${title}-${blob.size}-${sumChanges(entries)}` };
    get("import-name").textContent = title;
    /** @type {HTMLInputElement} */ (get("name")).placeholder = title;
    start.disabled = false;
  }

  takeFiles(form, document.getElementById("import-zone"), choose);
  const showOwn = () => (get("own-values").hidden = prepared.value !== "own");
  prepared.addEventListener("change", showOwn);
  showOwn();

  /** @param {string} message */
  function fail(message) {
    sending.end();
    start.disabled = false;
    get("import-state").hidden = true;
    get("import-error").hidden = false;
    /** @type {HTMLElement} */ (get("import-error").lastElementChild).textContent = message;
  }

  /** @param {number} sent @param {number} all */
  function report(sent, all) {
    get("import-state").hidden = false;
    /** @type {HTMLProgressElement} */ (get("import-bar")).value = all ? sent / all : 0;
    get("import-text").textContent = describeProgress((sent < all ? form.dataset.sending : form.dataset.storing) ?? "", sent, all);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    get("import-error").hidden = true;
    const given = new FormData(form);
    const samples = /** @type {File} */ (given.get("samples"));
    /** @type {AbortSignal | null} */
    let signal = null;
    try {
      const options = readOptions(given, prepared.value);
      if (options.preprocessing === "from_samples" && !samples.size) throw new Error(form.dataset.nosamples);
      start.disabled = true;
      signal = sending.begin();
      const id = form.dataset.answers;
      if (id) await answer(id, options, samples, report, signal);
      const made = id ?? (await add(/** @type {Chosen} */ (chosen), String(given.get("name")), options, samples, report, signal)).id;
      sending.end();
      location.assign(`/backbones/${made}`);
    } catch (error) {
      fail(/** @type {Error} */ (error).message || (form.dataset.broken ?? ""));
      if (signal?.aborted) get("import-error").hidden = true;
    }
  });

  /** What is known, as the API takes it. @param {FormData} given @param {string} values @returns {Record<string, any>} */
  function readOptions(given, values) {
    const text = (/** @type {string} */ name) => String(given.get(name) ?? "").trim();
    /** @type {Record<string, any>} */
    const facts = {};
    if (values === "own") {
      for (const name of ["mean", "std"]) if (text(name)) facts[name] = readThree(text(name));
    } else if (values in VALUES) {
      [facts.mean, facts.std] = VALUES[values];
    }
    if (text("side")) facts.input_size = [3, Number(text("side")), Number(text("side"))];
    if (text("crop_pct")) facts.crop_pct = Number(text("crop_pct"));
    for (const name of ["interpolation", "channel_order"]) if (text(name)) facts[name] = text(name);
    /** @type {Record<string, any>} */
    const options = {};
    if (values === "from_samples") options.preprocessing = "from_samples";
    else if (Object.keys(facts).length) options.preprocessing = facts;
    if (text("architecture")) options.architecture = text("architecture");
    const labels = text("labels").split("\n").map((line) => line.trim()).filter(Boolean);
    if (labels.length) options.labels = labels;
    return options;
  }

  /** @param {string} text */
  function readThree(text) {
    const numbers = text.split(/[\s,;]+/).map(Number);
    if (numbers.length !== 3 || numbers.some(Number.isNaN)) throw new Error(form.dataset.three);
    return numbers;
  }
}

/**
 * Send a network: a large one in pieces, unless samples come with it.
 * @param {Chosen} chosen @param {string} given @param {Record<string, any>} options @param {File} samples
 * @param {(sent: number, all: number) => void} report @param {AbortSignal} signal
 */
async function add({ blob, name, key }, given, options, samples, report, signal) {
  const known = { ...options, name: (given.trim() || name).slice(0, 255) };
  if (blob.size >= RESUMED && !samples.size) {
    const source = { upload: await upload(blob, name, key, (sent) => report(sent, blob.size), signal) };
    return create("/v1/backbones", { ...known, source });
  }
  const body = fillForm(known, samples);
  body.append("file", blob, name);
  const request = await send("POST", "/v1/backbones", {}, body, report, signal);
  if (request.status !== 202) throw new Error(explain(request.responseText, request.status));
  return JSON.parse(request.responseText);
}

/**
 * Answer what an import asked for.
 * @param {string} id @param {Record<string, any>} options @param {File} samples
 * @param {(sent: number, all: number) => void} report @param {AbortSignal} signal
 */
async function answer(id, options, samples, report, signal) {
  const address = `/v1/backbones/${id}/preprocessing`;
  if (!samples.size) return void (await create(address, options));
  const request = await send("POST", address, {}, fillForm(options, samples), report, signal);
  if (request.status !== 202) throw new Error(explain(request.responseText, request.status));
}

/** @param {Record<string, any>} options @param {File} samples */
function fillForm(options, samples) {
  const body = new FormData();
  for (const [name, value] of Object.entries(options)) body.append(name, typeof value === "string" ? value : JSON.stringify(value));
  if (samples.size) body.append("samples", samples);
  return body;
}
