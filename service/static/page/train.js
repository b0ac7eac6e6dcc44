// The form of a new job: one recipe, in words, as a form of the whole catalog, and as JSON; checked as one types.
// @ts-check
import { ask, create, say } from "./page.js";
import { SchemaForm } from "./schema_form.js";

/** @typedef {Record<string, any>} Recipe */

const MOST_CANDIDATES = 16;  // of service/recommendations/creation.py
const form = /** @type {HTMLFormElement | null} */ (document.getElementById("train"));
if (form) begin(form);

/** @param {HTMLFormElement} form */
function begin(form) {
  const get = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const json = /** @type {HTMLTextAreaElement} */ (get("json"));
  const start = /** @type {HTMLButtonElement} */ (get("start"));
  const words = get("check").dataset;  // not the form's, which has a control of this name
  /** @type {Recipe} */
  let recipe = JSON.parse(get("given").textContent ?? "{}");
  /** @type {Recipe | null} */
  let defaults = null;
  /** @type {SchemaForm | null} */
  let catalog = null;
  let checks = 0;
  let timer = 0;

  const value = (/** @type {string} */ name) => String(new FormData(form).get(name) ?? "").trim();
  const read = () => {
    const body = /** @type {Recipe} */ ({ dataset: value("dataset"), backbone: value("backbone"), recipe });
    for (const name of ["name", "publish"]) if (value(name)) body[name] = value(name);
    return body;
  };

  /** @param {boolean} rewrite */
  function refresh(rewrite) {
    if (rewrite) json.value = JSON.stringify(recipe, null, 2);
    json.removeAttribute("aria-invalid");
    const body = read();
    const { recipe: chosen, dataset, backbone, ...rest } = body;
    get("copy-curl").textContent = `curl ${location.origin}/v1/jobs --json '${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
    const more = Object.entries(rest).map(([key, text]) => `, ${key}=${JSON.stringify(text)}`).join("");
    get("copy-python").textContent = `from graft import Client\n\nwith Client("${location.origin}") as client:\n    job = client.create_job(${JSON.stringify(dataset)}, ${JSON.stringify(backbone)}, ${writePython(chosen)}${more})\n    client.wait(job["id"])`;
    get("copy-shell").textContent = `echo '${JSON.stringify(chosen).replaceAll("'", "'\\''")}' > recipe.json\ngraft train FOLDER --url ${location.origin} --backbone ${backbone} --recipe recipe.json`;
    clearTimeout(timer);
    timer = window.setTimeout(check, 300);
  }

  async function check() {
    const number = (checks += 1);
    const { dataset, backbone } = read();
    const body = JSON.stringify({ recipe, dataset: dataset || null, backbone: backbone || null });
    const response = await fetch("/v1/recipes/check", { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => null);
    if (number !== checks) return;
    const answer = response ? await response.json() : {};
    void showCosts(Boolean(response?.ok), number);
    tell(response?.ok ? "" : answer.detail ?? String(document.body.dataset.offline), answer.errors ?? []);
  }

  /** @param {boolean} fits @param {number} number */
  async function showCosts(fits, number) {
    const { dataset, backbone } = read();
    const query = new URLSearchParams({ dataset, backbone, recipe: JSON.stringify(recipe) });
    const response = fits ? await fetch(`/train/costs?${query}`, { headers: { "HX-Request": "true" } }).catch(() => null) : null;
    const text = response?.ok ? await response.text() : "";
    if (number === checks) get("costs").innerHTML = text;  // a view of ours, rendered and escaped by the service
  }

  /** @param {string} problem @param {{loc: string, msg: string}[]} errors */
  function tell(problem, errors) {
    const note = document.createElement("p");
    note.className = problem ? "note bad" : "soft small";
    note.textContent = errors.length ? errors.map(({ loc, msg }) => `${findPath(loc, recipe).replace(/^body\.?/, "") || "recipe"}: ${msg}`).join("; ") : problem || String(words.fits);
    get("check").replaceChildren(note);
    start.disabled = Boolean(problem);
    for (const field of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".schema-field"))) {
      const wrong = errors.some(({ loc }) => findPath(loc, recipe) === field.dataset.path);
      for (const input of field.querySelectorAll(":scope > .schema-inner > input")) input.setAttribute("aria-invalid", String(wrong));
    }
  }

  /** Rank the backbones that are shown, and show what each is expected to reach. @param {HTMLButtonElement} button */
  async function recommend(button) {
    const shown = [.../** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("#backbones input[name=backbone]"))];
    const candidates = [...new Set(shown.map((input) => input.value))].slice(0, MOST_CANDIDATES);
    button.disabled = true;
    try {
      const { id } = await create("/v1/backbones/recommend", { dataset: value("dataset"), candidates });
      do {
        const query = new URLSearchParams({ backbone: value("backbone") });
        const response = await fetch(`/train/recommendations/${id}?${query}`, { headers: { "HX-Request": "true" } }).catch(() => null);
        if (response?.ok) get("backbones").innerHTML = await response.text();  // rendered and escaped by the service
        await new Promise((resolve) => setTimeout(resolve, 1500));
      } while (document.querySelector("#backbones [data-live]"));
    } catch (error) {
      say(/** @type {Error} */ (error).message);
    }
    button.disabled = false;
  }

  /** Keep what differs from the defaults. @param {Recipe} whole */
  function reduce(whole) {
    const known = defaults;
    if (!known) return whole;
    return Object.fromEntries(Object.entries(whole).filter(([name, one]) => JSON.stringify(one) !== JSON.stringify(known[name])));
  }

  function compose() {
    /** @type {Recipe} */
    const made = {};
    const shown = `[data-depth=${value("depth")}]`;
    for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (form?.querySelectorAll(`${shown} [data-patch]:checked`))) {
      for (const [name, part] of Object.entries(JSON.parse(box.dataset.patch ?? "{}"))) {
        made[name] = Array.isArray(part) ? [...(made[name] ?? defaults?.[name] ?? []), ...part] : part;
      }
    }
    const minutes = /** @type {HTMLInputElement} */ (get("minutes"));
    if (minutes.closest(shown) && minutes.valueAsNumber > 0) made.time_budget_seconds = 60 * minutes.valueAsNumber;
    return made;
  }

  async function open() {
    const depth = value("depth");
    for (const part of /** @type {NodeListOf<HTMLElement>} */ (form?.querySelectorAll("[data-depth]"))) part.hidden = part.dataset.depth !== depth;
    if (depth === "all") await drawCatalog();
  }

  async function drawCatalog() {
    if (!catalog) {
      const { recipe: schema } = await ask("/v1/techniques");
      const named = { none: words.none ?? "", auto: words.auto ?? "", custom: words.custom ?? "", add: words.add ?? "", remove: words.remove ?? "" };
      catalog = new SchemaForm(schema, named, (whole) => {
        recipe = reduce(whole);
        refresh(true);
      });
      get("catalog-loading").hidden = true;
    }
    catalog.draw(get("catalog"), { ...defaults, ...recipe });
  }

  get("recommend").addEventListener("click", (event) => void recommend(/** @type {HTMLButtonElement} */ (event.currentTarget)));
  form.addEventListener("change", (event) => {
    const { name, dataset } = /** @type {HTMLInputElement} */ (event.target);
    if (name === "depth") {
      if (value("depth") !== "all") recipe = compose();
      void open();
      refresh(true);
    } else if (dataset.patch !== undefined) {
      recipe = compose();
      refresh(true);
    }
    if (name === "dataset" || name === "backbone") refresh(false);
  });
  form.addEventListener("input", (event) => {
    const { id } = /** @type {HTMLInputElement} */ (event.target);
    if (id === "minutes") {
      recipe = compose();
      refresh(true);
    }
    if (id === "name" || id === "publish") refresh(false);
    if (event.target === json) {
      try {
        recipe = JSON.parse(json.value || "{}");
      } catch {
        json.setAttribute("aria-invalid", "true");
        clearTimeout(timer);
        return tell(String(words.notjson), []);
      }
      refresh(false);
    }
  });
  json.addEventListener("change", () => {
    if (json.getAttribute("aria-invalid") || !Object.keys(recipe).length) return;
    /** @type {HTMLInputElement} */ (form.querySelector('[name="depth"][value="all"]')).checked = true;
    void open();
  });
  document.body.addEventListener("htmx:afterSwap", () => refresh(false));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    start.disabled = true;
    try {
      const job = await create("/v1/jobs", read());
      location.assign(`/jobs/${job.id}`);
    } catch (error) {
      tell(/** @type {Error} */ (error).message, []);
      start.disabled = false;
    }
  });

  void (async () => {
    const empty = await create("/v1/recipes/check", {});
    defaults = empty.recipe;
    recipe = reduce(recipe);
    if (Object.keys(recipe).length) /** @type {HTMLInputElement} */ (form.querySelector('[name="depth"][value="all"]')).checked = true;
    await open();
    refresh(true);
  })();
}

/** The path of a field that an error names, which has the kinds of techniques in it, too. @param {string} loc @param {any} value */
function findPath(loc, value) {
  const path = [];
  for (const part of loc.replace(/^body\.recipe\./, "").split(".")) {
    if (part === value?.kind) continue;
    path.push(part);
    value = value?.[part];
  }
  return path.join(".");
}

/** Write JSON as Python has it. @param {any} value @returns {string} */
function writePython(value) {
  if (value === null) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(writePython).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${writePython(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}
