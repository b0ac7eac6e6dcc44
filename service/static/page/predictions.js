// Starts a batch prediction: models answer for every image of a dataset.
// @ts-check
import { create, say } from "./page.js";

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("predictions-new"));
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const chosen = new FormData(form);
  const body = { dataset: chosen.get("dataset"), models: chosen.getAll("models"), coverage: Number(chosen.get("coverage")) };
  try {
    const made = await create("/v1/predictions", body);
    location.assign(`/predictions/${made.id}`);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
});
