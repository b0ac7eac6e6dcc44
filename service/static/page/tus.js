// Resumable uploads (tus 1.0): a file in pieces; after a broken connection, HEAD tells where to go on.
// @ts-check
import { explain } from "./page.js";
import { send } from "./sending.js";

/** Bytes from which an upload is sent in pieces; smaller ones are sent again as fast. */
export const RESUMED = 32 * 1024 * 1024;
const PIECE = 16 * 1024 * 1024;
const PAUSES = [1000, 2000, 5000, 10000, 20000, 30000];
const HEADERS = { "Tus-Resumable": "1.0.0" };

/** What ended an upload, with the message of the service. */
export class UploadRefused extends Error {}

/**
 * Upload a file; returns the id of the upload. One of the same key that was begun before goes on.
 * @param {Blob} file @param {string} name @param {string} key @param {(sent: number) => void} report @param {AbortSignal} signal
 */
export async function upload(file, name, key, report, signal) {
  let { address, offset } = await find(file, key) ?? { address: await create(file, name), offset: 0 };
  localStorage.setItem(key, address);
  for (let failures = 0; offset < file.size; ) {
    report(offset);
    try {
      const start = offset;
      offset = await sendPiece(address, file.slice(start, start + PIECE), start, (sent) => report(start + sent), signal);
      failures = 0;
    } catch (error) {
      if (signal.aborted || error instanceof UploadRefused || failures >= PAUSES.length) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSES[failures]));
      failures += 1;
      offset = (await locate(address)) ?? offset;
    }
  }
  report(file.size);
  localStorage.removeItem(key);
  return address.slice(address.lastIndexOf("/") + 1);
}

/** @param {Blob} file @param {string} key */
async function find(file, key) {
  const address = localStorage.getItem(key);
  const offset = address === null ? null : await locate(address);
  return address === null || offset === null || offset > file.size ? null : { address, offset };
}

/** The number of bytes that have come; null where that cannot be known. @param {string} address */
async function locate(address) {
  const response = await fetch(address, { method: "HEAD", headers: HEADERS }).catch(() => null);
  return response?.ok ? Number(response.headers.get("Upload-Offset")) : null;
}

/** @param {Blob} file @param {string} name */
async function create(file, name) {
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(name)));
  const headers = { ...HEADERS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${encoded}` };
  const response = await fetch("/v1/uploads", { method: "POST", headers });
  if (!response.ok) throw new UploadRefused(explain(await response.text(), response.status));
  return String(response.headers.get("Location"));
}

/**
 * Send a piece; returns the offset of the next.
 * @param {string} address @param {Blob} piece @param {number} offset @param {(sent: number) => void} report @param {AbortSignal} signal
 * @returns {Promise<number>}
 */
async function sendPiece(address, piece, offset, report, signal) {
  const headers = { ...HEADERS, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
  const request = await send("PATCH", address, headers, piece, report, signal);
  if (request.status === 204) return Number(request.getResponseHeader("Upload-Offset"));
  const again = request.status >= 500 || [408, 409, 423, 429].includes(request.status);
  const message = explain(request.responseText, request.status);
  throw again ? new Error(message) : new UploadRefused(message);
}
