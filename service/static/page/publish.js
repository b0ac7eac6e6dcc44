// Makes a model's name point at a checkpoint: that of a job, or an earlier one.
// @ts-check
import { ask, say } from "./page.js";

for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("#publish, form.move"))) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = form.dataset.model ?? String(new FormData(form).get("name"));
    const body = JSON.stringify({ checkpoint: form.dataset.checkpoint });
    try {
      await ask(`/v1/models/${encodeURIComponent(name)}`, { method: "PUT", headers: { "Content-Type": "application/json" }, body });
      location.assign(`/models/${encodeURIComponent(name)}`);
    } catch (error) {
      say(/** @type {Error} */ (error).message);
    }
  });
}
