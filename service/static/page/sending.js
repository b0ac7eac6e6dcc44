// Requests whose upload is followed: how many bytes are sent, in numbers and in words, until a signal or a button ends it.
// @ts-check

/**
 * Send a request; resolves when the answer is there, whatever its status, and rejects where the connection broke or the
 * signal ended it. An XMLHttpRequest, as only it tells how much was sent.
 * @param {string} method @param {string} address @param {Record<string, string>} headers @param {XMLHttpRequestBodyInit} body
 * @param {(sent: number, all: number) => void} report @param {AbortSignal} signal @returns {Promise<XMLHttpRequest>}
 */
export function send(method, address, headers, body, report, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => report(loaded, total));
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new Error("")));
    request.addEventListener("abort", () => reject(new Error("")));
    request.addEventListener("loadend", () => signal.removeEventListener("abort", abort));
    signal.addEventListener("abort", abort);
    request.send(body);
  });
}

/** What is being sent, one at a time: a button cancels it, and who leaves the page is asked first. */
export class Sending {
  /** @param {HTMLElement} cancel */
  constructor(cancel) {
    /** @type {AbortController | null} */
    this.running = null;
    cancel.addEventListener("click", () => this.running?.abort());
    addEventListener("beforeunload", (event) => {
      if (this.running) event.preventDefault();
    });
  }

  /** Begin; gives the signal that ends it. @returns {AbortSignal} */
  begin() {
    this.running = new AbortController();
    return this.running.signal;
  }

  end() {
    this.running = null;
  }
}

/** How much is sent, in words with {sent}, {all} and {percent}. @param {string} words @param {number} sent @param {number} all */
export function describeProgress(words, sent, all) {
  /** @type {Record<string, string>} */
  const values = { sent: formatSize(sent), all: formatSize(all), percent: String(all ? Math.floor((100 * sent) / all) : 0) };
  return words.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** @param {number} bytes */
function formatSize(bytes) {
  const megabytes = bytes / 1e6;
  return megabytes < 1000 ? `${megabytes.toFixed(megabytes < 10 ? 1 : 0)} MB` : `${(megabytes / 1000).toFixed(2)} GB`;
}
