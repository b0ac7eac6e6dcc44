// What every view needs: theme, times of the reader's zone, dialogs, copying, and messages of errors.
// @ts-check

const toasts = /** @type {HTMLElement} */ (document.getElementById("toasts"));

/** Show a short message for some seconds, once at a time. @param {string} text */
export function say(text) {
  if ([...toasts.children].some((shown) => shown.textContent === text)) return;
  const toast = document.createElement("p");
  toast.textContent = text;
  toasts.append(toast);
  setTimeout(() => toast.remove(), 8000);
}

/** The message of a problem+json, or of a failure. @param {string} body @param {number} status @returns {string} */
export function explain(body, status) {
  try {
    return JSON.parse(body).detail;
  } catch {
    return String((status ? document.body.dataset.failed : document.body.dataset.offline) ?? "");
  }
}

/** Ask the API. Throws an Error with the problem's detail. @param {string} address @param {RequestInit} [options] */
export async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error(explain("", 0));
  }
  if (!response.ok) throw new Error(explain(await response.text(), response.status));
  return response.status === 204 ? null : response.json();
}

/** Create something by a POST of JSON; returns it. Throws as `ask`. @param {string} address @param {object} body */
export function create(address, body) {
  return ask(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** @param {ParentNode} part */
function prepare(part) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of part.querySelectorAll("time:not([title])")) {
    const exact = /** @type {HTMLTimeElement} */ (time).dateTime;
    time.setAttribute("title", exact);
    time.textContent = format.format(new Date(exact));
  }
}

/** Open a dialog; what is loaded into it is not there yet. @param {HTMLDialogElement} dialog */
function open(dialog) {
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll("[data-loading]"))) fill(place, place.dataset.loading);
  dialog.showModal();
}

/** @param {HTMLElement} place @param {string | undefined} text */
function fill(place, text) {
  const sentence = document.createElement("p");
  Object.assign(sentence, { className: "soft", textContent: text });
  place.replaceChildren(sentence);
}

document.getElementById("theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("graft-theme", root.dataset.theme);
  document.dispatchEvent(new CustomEvent("graft:theme"));
});

document.addEventListener("click", async (event) => {
  const target = /** @type {Element} */ (event.target);
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target)) menu.removeAttribute("open");
  }
  const opener = /** @type {HTMLElement | null} */ (target.closest("[data-opens]"));
  if (opener) open(/** @type {HTMLDialogElement} */ (document.getElementById(opener.dataset.opens ?? "")));
  const copier = /** @type {HTMLElement | null} */ (target.closest("[data-copies]"));
  if (copier) {
    const source = document.getElementById(copier.dataset.copies ?? "");
    const text = source instanceof HTMLTextAreaElement ? source.value : source?.textContent ?? "";
    await navigator.clipboard.writeText(text);
    say(copier.dataset.done ?? "");
  }
});

// A form that creates something from a JSON body, and goes to it.
document.addEventListener("submit", async (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const { creates, goes = "", body = "{}" } = form.dataset;
  if (!creates) return;
  event.preventDefault();
  const button = /** @type {HTMLButtonElement | null} */ (form.querySelector("button"));
  if (button) button.disabled = true;
  try {
    const made = await create(creates, JSON.parse(body));
    location.assign(`${goes}${made.id}`);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
    if (button) button.disabled = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  menu?.removeAttribute("open");
  /** @type {HTMLElement | null | undefined} */ (menu?.querySelector("summary"))?.focus();
});

document.body.addEventListener("htmx:afterSwap", (event) => prepare(/** @type {HTMLElement} */ (event.target)));
document.body.addEventListener("htmx:afterSettle", () => prepare(document));
for (const name of ["htmx:responseError", "htmx:sendError"]) {
  document.body.addEventListener(name, (event) => {
    const { xhr, target } = /** @type {CustomEvent} */ (event).detail;
    const message = explain(xhr.responseText, xhr.status);
    if (target.dataset.loading === undefined) say(message);
    else fill(target, message); // a message would be behind the dialog
  });
}
document.body.addEventListener("htmx:afterRequest", (event) => {
  const { elt, successful } = /** @type {CustomEvent} */ (event).detail;
  if (successful && elt.dataset.then) location.assign(elt.dataset.then);
});

prepare(document);
