// A form made from a JSON Schema as pydantic writes it: techniques by kind, numbers with ranges, "auto", null and lists.
// @ts-check

/** @typedef {Record<string, any>} Schema */
/** @typedef {{none: string, auto: string, custom: string, add: string, remove: string}} Words */

let counter = 0;

export class SchemaForm {
  /** @param {Schema} root @param {Words} words @param {(value: any) => void} changed */
  constructor(root, words, changed) {
    this.root = root;
    this.words = words;
    this.changed = changed;
  }

  /** Draw the fields of the whole recipe with these values. @param {HTMLElement} place @param {any} value */
  draw(place, value) {
    this.value = structuredClone(value);
    const fields = Object.entries(this.root.properties).map(([name, schema]) =>
      this.field(name, schema, this.value[name], (given) => this.set(name, given), name),
    );
    place.replaceChildren(...fields);
  }

  /** @param {string} name @param {any} value */
  set(name, value) {
    this.value = { ...this.value, [name]: value };
    this.changed(this.value);
  }

  /** @param {Schema} schema @returns {Schema} */
  resolve(schema) {
    return schema.$ref ? { ...this.root.$defs[schema.$ref.split("/").pop()], ...schema } : schema;
  }

  /** The forms that a value may take. @param {Schema} schema @returns {Schema[]} */
  list(schema) {
    return (schema.anyOf ?? schema.oneOf ?? [schema]).flatMap((/** @type {Schema} */ one) => {
      const found = this.resolve(one);
      return found.anyOf || found.oneOf ? this.list(found) : [found];
    });
  }

  /** @param {Schema} option */
  nameOf(option) {
    if (option.type === "null") return this.words.none;
    if (option.const !== undefined) return option.const === "auto" ? this.words.auto : String(option.const);
    return option.properties?.kind?.const ?? this.words.custom;
  }

  /** Whether a value is of this form. @param {Schema} option @param {any} value @returns {boolean} */
  takes(option, value) {
    if (option.type === "null") return value === null;
    if (option.const !== undefined) return value === option.const;
    if (option.enum) return option.enum.includes(value);
    if (option.type === "object") {
      const kind = option.properties?.kind?.const;
      return value !== null && typeof value === "object" && !Array.isArray(value) && (kind === undefined || value.kind === kind);
    }
    if (option.type === "array") return Array.isArray(value);
    if (option.type === "boolean") return typeof value === "boolean";
    return option.type === "string" ? typeof value === "string" : typeof value === "number";
  }

  /** A first value of a form. @param {Schema} option @returns {any} */
  begin(option) {
    if (option.default !== undefined) return structuredClone(option.default);
    if (option.type === "null") return null;
    if (option.const !== undefined) return option.const;
    if (option.enum) return option.enum[0];
    if (option.type === "array") return [];
    if (option.type === "boolean") return false;
    if (option.type === "object") {
      const parts = Object.entries(option.properties ?? {}).map(([name, part]) => [name, this.begin(this.list(part).length > 1 && part.default === undefined ? this.list(part)[0] : this.resolve(part))]);
      return Object.fromEntries(parts);
    }
    return option.minimum ?? (option.exclusiveMinimum !== undefined ? Math.min(1, (option.exclusiveMinimum || 0) + 0.1) : 1);
  }

  /** @param {string} name @param {Schema} given @param {any} value @param {(value: any) => void} set @param {string} path @returns {HTMLElement} */
  field(name, given, value, set, path) {
    const schema = this.resolve(given);
    const id = `f${(counter += 1)}`;
    const box = element("div", { className: "schema-field" });
    box.dataset.path = path;
    const label = element("label", { htmlFor: id, textContent: name.replaceAll("_", " ") });
    const help = element("p", { className: "soft small", id: `${id}-help`, textContent: schema.description ?? "" });
    const inner = element("div", { className: "schema-inner" });
    box.append(label, inner, help);
    this.control(inner, id, schema, value, set, path);
    inner.querySelector(`#${id}`)?.setAttribute("aria-describedby", help.id);
    return box;
  }

  /** @param {HTMLElement} place @param {string} id @param {Schema} schema @param {any} value @param {(value: any) => void} set @param {string} path */
  control(place, id, schema, value, set, path) {
    const options = this.list(schema).flatMap((option) => (option.enum ? option.enum.map((/** @type {any} */ one) => ({ const: one })) : [option]));
    const current = options.find((option) => this.takes(option, value)) ?? options[0];
    place.replaceChildren();
    if (options.length > 1) {
      const select = element("select", { id });
      select.append(...options.map((option, number) => element("option", { value: String(number), textContent: this.nameOf(option) })));
      select.value = String(options.indexOf(current));
      select.addEventListener("change", () => {
        const chosen = options[Number(select.value)];
        const first = this.begin(chosen);
        set(first);
        this.control(place, id, schema, first, set, path);
        document.getElementById(id)?.focus();
      });
      place.append(select);
    }
    const part = options.length > 1 ? `${id}v` : id;
    if (current.type === "object") place.append(this.object(current, value, set, path));
    else if (current.type === "array") place.append(this.array(current, value ?? [], set, path));
    else if (current.const === undefined && current.type !== "null") place.append(this.plain(part, current, value, set, path));
  }

  /** @param {Schema} option @param {any} value @param {(value: any) => void} set @param {string} path */
  object(option, value, set, path) {
    const group = element("div", { className: "schema-group" });
    let current = { ...value };
    for (const [name, part] of Object.entries(option.properties ?? {})) {
      if (name === "kind") continue;
      const change = (/** @type {any} */ given) => set((current = { ...current, [name]: given }));
      group.append(this.field(name, part, current[name], change, `${path}.${name}`));
    }
    group.hidden = !group.children.length;
    return group;
  }

  /** @param {Schema} option @param {any[]} value @param {(value: any) => void} set @param {string} path */
  array(option, value, set, path) {
    const list = element("div", { className: "schema-list" });
    const redraw = (/** @type {any[]} */ items) => {
      set(items);
      list.replaceWith(this.array(option, items, set, path));
    };
    value.forEach((item, number) => {
      const change = (/** @type {any} */ given) => {
        value = value.map((old, place) => (place === number ? given : old));
        set(value);
      };
      const row = element("div", { className: "schema-item" });
      const label = element("div", {});
      const id = `f${(counter += 1)}`;
      this.control(label, id, option.items, item, change, `${path}.${number}`);
      label.querySelector(`#${id}`)?.setAttribute("aria-label", `${path} ${number + 1}`);
      const remove = element("button", { type: "button", className: "button quiet", textContent: this.words.remove });
      remove.setAttribute("aria-label", `${this.words.remove} ${path} ${number + 1}`);
      remove.addEventListener("click", () => redraw(value.filter((_, place) => place !== number)));
      row.append(label, remove);
      list.append(row);
    });
    const add = element("button", { type: "button", className: "button", textContent: `+ ${this.words.add}` });
    add.setAttribute("aria-label", `${this.words.add}: ${path}`);
    add.addEventListener("click", () => redraw([...value, this.begin(this.list(option.items)[0])]));
    list.append(add);
    return list;
  }

  /** @param {string} id @param {Schema} option @param {any} value @param {(value: any) => void} set @param {string} path */
  plain(id, option, value, set, path) {
    if (option.type === "boolean") {
      const box = element("input", { type: "checkbox", id, checked: Boolean(value) });
      box.addEventListener("change", () => set(box.checked));
      return box;
    }
    const isNumber = option.type === "number" || option.type === "integer";
    const input = element("input", { id, type: isNumber ? "number" : "text", value: String(value ?? "") });
    if (isNumber) input.step = option.type === "integer" ? "1" : "any";
    for (const [name, key] of /** @type {const} */ ([["min", "minimum"], ["max", "maximum"]])) if (option[key] !== undefined) input[name] = String(option[key]);
    input.setAttribute("aria-label", path.replaceAll("_", " "));
    input.addEventListener("input", () => {
      if (!isNumber) set(input.value);
      else if (input.value !== "" && Number.isFinite(input.valueAsNumber)) set(input.valueAsNumber);
    });
    return input;
  }
}

/** @template {keyof HTMLElementTagNameMap} T @param {T} tag @param {Partial<HTMLElementTagNameMap[T]>} properties @returns {HTMLElementTagNameMap[T]} */
function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}
