// Line charts over epochs, drawn by uPlot in the page's colours.
// @ts-check

/** @typedef {{name: string, values: (number | null)[]}} Line */

/** A colour of the style sheet as canvas knows it. @param {string} name */
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Draw lines, in the place of what was there; returns a function that gives them other values.
 * @param {HTMLElement} place @param {string} epoch @param {string[]} names @param {boolean} share
 * @returns {{update(epochs: number[], lines: (number | null)[][]): void}} */
export function draw(place, epoch, names, share) {
  /** @type {any} */
  let chart = null;
  /** @type {any[]} */
  let data = [[], ...names.map(() => [])];
  /** @param {number | null} value */
  const write = (value) => (value === null || value === undefined ? "–" : share ? `${(100 * value).toFixed(1)}%` : value.toPrecision(4));

  function build() {
    chart?.destroy();
    const axis = { stroke: colour("ink-soft"), font: "12px system-ui", grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const options = {
      width: place.clientWidth || 320,
      height: 240,
      scales: { x: { time: false } },
      cursor: { points: { size: 6 } },
      axes: [
        { ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
        { ...axis, size: 56, values: (/** @type {any} */ _, /** @type {number[]} */ marks) => marks.map((mark) => (share ? `${Math.round(1000 * mark) / 10}%` : `${mark}`)) },
      ],
      series: [
        { label: epoch },
        ...names.map((label, number) => ({
          label, stroke: colour(`chart-${(number % 4) + 1}`), width: 2, dash: number > 3 ? [6, 4] : [], points: { show: data[0].length < 2, size: 7 },
          value: (/** @type {any} */ _, /** @type {number | null} */ value) => write(value),
        })),
      ],
    };
    place.replaceChildren();
    chart = new /** @type {any} */ (window).uPlot(options, data, place);
    // The legend is a table of values under the cursor; the lines' last values are read out here.
    place.querySelector("canvas")?.setAttribute("role", "img");
    describe();
  }
  function describe() {
    const last = names.map((name, number) => `${name} ${write(data[number + 1].at(-1) ?? null)}`).join(", ");
    place.querySelector("canvas")?.setAttribute("aria-label", `${epoch} ${data[0].at(-1) ?? "–"}: ${last}`);
  }
  build();
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 240 })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  document.addEventListener("graft:theme", build);
  return {
    update(epochs, lines) {
      const few = data[0].length < 2;
      data = [epochs, ...lines];
      if (few) build();
      else chart.setData(data);
      describe();
    },
  };
}

/** All epochs of a job. @param {string} job @returns {Promise<Record<string, any>[]>} */
export async function readEpochs(job) {
  const { ask } = await import("./page.js");
  /** @type {Record<string, any>[]} */
  const rows = [];
  for (let after = ""; ; ) {
    const page = await ask(`/v1/jobs/${job}/metrics?limit=1000&after=${after}`);
    rows.push(...page.data);
    if (!page.has_more) return rows;
    after = page.last_id;
  }
}
