// The curves of several jobs, over each other.
// @ts-check
import { draw, readEpochs } from "./charts.js";

const section = /** @type {HTMLElement} */ (document.getElementById("compare"));
const jobs = (section.dataset.jobs ?? "").split(" ").map((part) => part.split("="));
const names = jobs.map(([, name]) => decodeURIComponent(name));
const all = await Promise.all(jobs.map(([job]) => readEpochs(job)));
const epochs = [...new Set(all.flat().map((row) => row.epoch))].sort((one, other) => one - other);
const found = all.map((rows) => new Map(rows.map((row) => [row.epoch, row])));

for (const place of /** @type {NodeListOf<HTMLElement>} */ (section.querySelectorAll(".chart"))) {
  const figure = place.dataset.figure ?? "";
  const chart = draw(place, section.dataset.epoch ?? "", names, figure.endsWith("accuracy"));
  chart.update(epochs, found.map((rows) => epochs.map((epoch) => rows.get(epoch)?.[figure] ?? null)));
}
