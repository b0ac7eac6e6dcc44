// The curves of one job: those of the epochs so far, then live over server-sent events.
// @ts-check
import { draw, readEpochs } from "./charts.js";

const section = document.getElementById("curves");
if (section) void show(section);

/** @param {HTMLElement} section */
async function show(section) {
  const { job = "", train = "", validation = "", epoch = "" } = section.dataset;
  const rows = await readEpochs(job);
  const isLive = "live" in section.dataset;
  const isEmpty = !rows.length && !isLive;
  /** @type {HTMLElement} */ (document.getElementById("curves-none")).hidden = !isEmpty;
  /** @type {HTMLElement} */ (section.querySelector(".columns")).hidden = isEmpty;
  if (isEmpty) return;
  const charts = [.../** @type {NodeListOf<HTMLElement>} */ (section.querySelectorAll(".chart"))].map((place) => ({
    figure: place.dataset.figure,
    chart: draw(place, epoch, [train, validation], place.dataset.figure === "accuracy"),
  }));
  const update = () => {
    for (const { figure, chart } of charts) {
      chart.update(
        rows.map((row) => row.epoch),
        ["train", "validation"].map((split) => rows.map((row) => row[`${split}_${figure}`])),
      );
    }
  };
  update();
  if (!isLive) return;
  const source = new EventSource(`/v1/jobs/${job}/events`);
  let due = false;
  source.addEventListener("epoch", (event) => {
    const { data } = JSON.parse(event.data);
    if (rows.length && data.epoch <= rows[rows.length - 1].epoch) return;
    rows.push(data);
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      update();
    });
  });
  for (const kind of ["succeeded", "failed", "cancelled"]) source.addEventListener(kind, () => source.close());
  addEventListener("pagehide", () => source.close());
}
