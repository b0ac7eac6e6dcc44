// Asks a model what it sees in images that are dropped, chosen, or taken by the camera.
// @ts-check
import { ask, explain, say } from "./page.js";

const zone = document.getElementById("photos");
if (zone) begin(zone);

/** @param {HTMLElement} zone */
function begin(zone) {
  const get = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const model = /** @type {HTMLSelectElement} */ (get("model"));
  const coverage = /** @type {HTMLSelectElement} */ (get("coverage"));
  const files = /** @type {HTMLInputElement} */ (get("photo-files"));
  const video = /** @type {HTMLVideoElement} */ (get("video"));
  const template = /** @type {HTMLTemplateElement} */ (get("answer"));

  const address = () => `/v1/predict?${new URLSearchParams({ models: model.value, coverage: coverage.value })}`;
  const tell = () => {
    get("same").textContent = `curl -T photo.jpg -X POST '${location.origin}${address()}'`;
  };
  for (const select of [model, coverage]) select.addEventListener("change", tell);
  tell();

  get("pick").addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    show([...(files.files ?? [])]);
    files.value = "";
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    show([...(event.dataTransfer?.files ?? [])]);
  });
  addEventListener("paste", (event) => show([...(event.clipboardData?.files ?? [])]));

  get("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      return say(/** @type {Error} */ (error).message);
    }
    get("viewfinder").hidden = false;
    get("photos-choice").hidden = true;
  });
  const take = /** @type {HTMLButtonElement} */ (get("take"));
  video.addEventListener("loadeddata", () => {
    take.disabled = false;
    take.focus();
  });
  get("close-camera").addEventListener("click", close);
  take.addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    canvas.toBlob((blob) => blob && show([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
    close();
  });

  function close() {
    for (const track of /** @type {MediaStream | null} */ (video.srcObject)?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    take.disabled = true;
    get("viewfinder").hidden = true;
    get("photos-choice").hidden = false;
    get("camera").focus();
  }

  /** @param {File[]} chosen */
  function show(chosen) {
    for (const file of chosen.slice(0, Number(zone.dataset.most))) void predict(file);
  }

  /** @param {File} file */
  async function predict(file) {
    const card = /** @type {HTMLElement} */ (/** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild);
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (card.querySelector(`[data-part="${name}"]`));
    const image = /** @type {HTMLImageElement} */ (card.querySelector("img"));
    image.src = URL.createObjectURL(file);
    image.alt = file.name;
    part("file").textContent = file.name;
    get("answers").prepend(card);
    try {
      const { data } = await ask(address(), { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file });
      if (data[0].error) throw new Error(data[0].error.message);
      fill(card, part, data[0].predictions[0]);
      offerSaliency(part, file, data[0].predictions[0]);
      void showNearest(part, file, data[0].predictions[0].checkpoint);
    } catch (error) {
      part("error").hidden = false;
      /** @type {HTMLElement} */ (part("error").lastElementChild).textContent = /** @type {Error} */ (error).message;
    }
    part("waiting").hidden = true;
  }

  /** Lays a map of what spoke for the class over the image, and takes it away.
   * @param {(name: string) => HTMLElement} part @param {File} file @param {any} found */
  function offerSaliency(part, file, found) {
    const [map, button] = [/** @type {HTMLImageElement} */ (part("saliency")), /** @type {HTMLButtonElement} */ (part("explain"))];
    button.hidden = false;
    button.addEventListener("click", async () => {
      if (!map.src) {
        button.disabled = true;
        const response = await fetch(`/v1/checkpoints/${found.checkpoint}/saliency`, { method: "POST", body: file }).catch(() => null);
        button.disabled = false;
        if (!response?.ok) return say(explain(response ? await response.text() : "", response?.status ?? 0));
        map.src = URL.createObjectURL(await response.blob());
        map.alt = (map.dataset.alt ?? "").replace("{name}", found.classes[0].name);
      }
      map.hidden = !map.hidden;
      button.setAttribute("aria-pressed", String(!map.hidden));
    });
  }

  /** Shows the training images that are most like the image, or why there are none.
   * @param {(name: string) => HTMLElement} part @param {File} file @param {string} checkpoint */
  async function showNearest(part, file, checkpoint) {
    const place = part("nearest");
    const list = /** @type {HTMLElement} */ (place.querySelector("ul"));
    const text = /** @type {HTMLElement} */ (place.lastElementChild);
    try {
      const options = { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file };
      const { data, compared, training_images, reason } = await ask(`/v1/checkpoints/${checkpoint}/nearest?count=6`, options);
      list.append(...data.map(thumbnail));
      const said = compared === training_images ? text.dataset.all : text.dataset.some;
      text.textContent = reason ?? String(said).replace("{compared}", compared.toLocaleString()).replace("{count}", training_images.toLocaleString());
    } catch (error) {
      text.textContent = /** @type {Error} */ (error).message;
    }
    list.hidden = !list.children.length;
    place.hidden = false;
  }

  /** @param {HTMLElement} card @param {(name: string) => HTMLElement} part @param {any} found */
  function fill(card, part, found) {
    /** @type {HTMLElement} */ (card.querySelector("h2")).textContent = found.classes[0].name;
    for (const { name, probability } of found.classes) part("classes").append(bar(name, probability));
    part("unlike").hidden = !found.unlike_training;
    if (found.set === null) return;
    const set = part("set");
    const text = found.set.length === 1 ? set.dataset.one : found.set.length ? set.dataset.several : set.dataset.empty;
    set.textContent = String(text).replace("{set}", found.set.join(", ")).replace("{share}", `${Math.round(100 * Number(coverage.value))}%`);
    set.hidden = false;
  }
}

/** @param {any} found */
function thumbnail(found) {
  const [row, link, image, caption] = ["li", "a", "img", "p"].map((name) => document.createElement(name));
  Object.assign(link, { href: `${found.url}?size=512`, title: found.file, className: "thumbnail" });
  Object.assign(image, { src: `${found.url}?size=128`, width: 128, height: 128, alt: found.file, loading: "lazy" });
  Object.assign(caption, { className: "caption", textContent: `${found.labels.join(", ")} ${(100 * found.similarity).toFixed(1)}%` });
  link.append(image);
  row.append(link, caption);
  return row;
}

/** @param {string} name @param {number} share */
function bar(name, share) {
  const row = document.createElement("li");
  const [label, text] = [document.createElement("span"), document.createElement("span")];
  label.textContent = name;
  text.textContent = `${(100 * share).toFixed(1)}%`;
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  const rect = document.createElementNS(space, "rect");
  for (const [key, value] of Object.entries({ class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" })) drawing.setAttribute(key, value);
  rect.setAttribute("width", String(100 * share));
  rect.setAttribute("height", "10");
  drawing.append(rect);
  row.append(label, drawing, text);
  return row;
}
