// Files that were dropped or chosen, with their paths.
// @ts-check

/** @typedef {import("./tar.js").Entry} Entry */

/**
 * Take files that the buttons of a part pick, or that are dropped on a zone.
 * @param {ParentNode} part @param {HTMLElement | null} zone @param {(found: Entry[]) => void} take
 * @param {() => boolean} [begin] Whether what was dropped is to be read, which may take a while
 */
export function takeFiles(part, zone, take, begin = () => true) {
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (part.querySelectorAll("[data-picks]"))) {
    const input = /** @type {HTMLInputElement} */ (document.getElementById(button.dataset.picks ?? ""));
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files?.length) take(readChosen(input.files));
      input.value = "";
    });
  }
  zone?.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone?.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone?.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer && begin()) take(await readDropped(event.dataTransfer));
  });
}

/** The sum of the times of change, which tells whether files are the same as before. @param {Entry[]} entries */
export function sumChanges(entries) {
  return entries.reduce((sum, { file }) => sum + file.lastModified, 0);
}

/** Read what was dropped, folders with all that they hold. @param {DataTransfer} data @returns {Promise<Entry[]>} */
async function readDropped(data) {
  const roots = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null);
  if (!roots.length) return readChosen(data.files);
  /** @type {Entry[]} */
  const found = [];
  /** @type {FileSystemEntry[]} */
  const pending = /** @type {FileSystemEntry[]} */ (roots);
  for (let entry = pending.pop(); entry; entry = pending.pop()) {
    if (entry.isDirectory) pending.push(...(await listFolder(/** @type {FileSystemDirectoryEntry} */ (entry))));
    else found.push({ path: entry.fullPath.slice(1), file: await openFile(/** @type {FileSystemFileEntry} */ (entry)) });
  }
  return dropHidden(found);
}

/** @param {FileList} files @returns {Entry[]} */
function readChosen(files) {
  return dropHidden([...files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

/** Take the folder that holds all files off their paths. @param {Entry[]} entries @returns {{name: string, entries: Entry[]}} */
export function splitRoot(entries) {
  const roots = new Set(entries.map((entry) => entry.path.split("/")[0]));
  const [name] = roots;
  if (roots.size !== 1 || !entries.every((entry) => entry.path.includes("/"))) return { name: "", entries };
  return { name, entries: entries.map(({ path, file }) => ({ path: path.slice(name.length + 1), file })) };
}

/** @param {Entry[]} entries */
function dropHidden(entries) {
  const visible = entries.filter((entry) => !entry.path.split("/").some((part) => part.startsWith(".")));
  return visible.sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** A reader gives a hundred at a time. @param {FileSystemDirectoryEntry} folder @returns {Promise<FileSystemEntry[]>} */
async function listFolder(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
function openFile(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
