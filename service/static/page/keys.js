// Makes an API key, and shows its secret this once.
// @ts-check
import { create, say } from "./page.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("new-key"));
const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("secret"));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = new FormData(form);
  const days = Number(given.get("days"));
  const body = { name: given.get("name"), scopes: [given.get("scope")], expires_in: days ? 86400 * days : null };
  try {
    const key = await create("/v1/keys", body);
    /** @type {HTMLElement} */ (document.getElementById("secret-text")).textContent = key.secret;
    dialog.showModal();
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
});
dialog.addEventListener("close", () => location.reload());
