// Tar archives of files, as a Blob: the browser reads each file only when it is sent.
// @ts-check

const BLOCK = 512;
const encoder = new TextEncoder();

/** @typedef {{path: string, file: File}} Entry */

/** Pack files in a tar (POSIX pax). @param {Entry[]} entries @returns {Blob} */
export function packTar(entries) {
  /** @type {BlobPart[]} */
  const parts = [];
  for (const { path, file } of entries) {
    const name = encoder.encode(path);
    if (name.length > 100 || name.length !== path.length) {
      const record = writeRecord("path", path);
      parts.push(writeHeader(encoder.encode("pax"), record.length, "x"), record, pad(record.length));
    }
    parts.push(writeHeader(name, file.size, "0"), file, pad(file.size));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts, { type: "application/x-tar" });
}

/** A pax record: its length, which counts itself, and key=value. @param {string} key @param {string} value */
function writeRecord(key, value) {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + 1;
  while (String(length).length + rest !== length) length = String(length).length + rest;
  return encoder.encode(`${length} ${key}=${value}\n`);
}

/** @param {Uint8Array} name @param {number} size @param {string} kind */
function writeHeader(name, size, kind) {
  const header = new Uint8Array(BLOCK);
  /** @param {number} place @param {string} text */
  const put = (place, text) => header.set(encoder.encode(text), place);
  header.set(name.subarray(0, 100));
  put(100, "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(124, `${size.toString(8).padStart(11, "0")}\0`);
  put(136, "00000000000\0");
  put(148, "        ");
  put(156, kind);
  put(257, "ustar\x0000");
  put(148, `${header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0")}\0 `);
  return header;
}

/** @param {number} size */
function pad(size) {
  return new Uint8Array(-size & (BLOCK - 1));
}
