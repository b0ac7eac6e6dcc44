"""Write docs/api.md from the OpenAPI description: each operation with its parameters, curl and Python (`make docs`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tools.api_examples import EXAMPLES, NAMES, VARIABLES, Example
from tools.generated import describe_api, find_references, format_code, render_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tools.generated import Schema

PAGE = Path(__file__).parents[1] / "docs" / "api.md"

HEAD = """\
# API

Every operation of the service. `make docs` writes this page from its description, which a service has at
`/openapi.json`; [its own page `/docs`](http://127.0.0.1:8000/docs) lets you try them.

- Bodies and answers are JSON, but for files. Ids are `ds_…`, `job_…`, `ckpt_…`, `bb_…`, `pred_…`, and sort by time.
- A list is `{"data": […], "has_more", "first_id", "last_id"}`; `?limit=` and `?after=LAST_ID` turn its pages.
- An error is `application/problem+json` (RFC 9457) with `status`, `code`, which is part of the API, and `detail`, which
  says what to do; errors of a request's fields list them in `errors`.
- Where the service asks for [API keys](how-to/keys.md), each request has `Authorization: Bearer KEY`.
- Datasets, backbones, jobs and predictions are created with an `Idempotency-Key`: the same request sent twice creates
  one.
- Times are UTC (RFC 3339).

The examples speak of the ids `$DATASET`, `$JOB`, `$CHECKPOINT` and so on. Those in Python begin with the lines below;
what is JSON is `answer.json()`.

```python
import os
import httpx

key = os.environ.get("GRAFT_API_KEY")
headers = {"Authorization": f"Bearer {key}"} if key else {}
api = httpx.Client(base_url="http://127.0.0.1:8000", timeout=60, headers=headers)
```

The [client](how-to/train.md) has a method for most of them, which resumes and repeats what a broken connection cut off.
"""
ADDRESS = "localhost:8000"
OF_THE_RECIPE = {"Recipe", "ResolvedRecipe", "Catalog"}
"""Schemas that techniques.md describes."""
NOT_SHOWN = {"HTTPValidationError", "ValidationError"}


def render_page(schema: Schema) -> str:
    """Render the whole page."""
    groups: dict[str, list[str]] = {tag["name"]: [] for tag in schema["tags"]}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            groups[operation["tags"][0]].append(render_operation(method.upper(), path, operation))
    parts = [HEAD.strip()]
    for name, operations in groups.items():
        parts += [f"## {name.capitalize()}", *operations]
    return format_code("\n\n".join([*parts, "## Objects", *_render_objects(schema)]) + "\n", PAGE)


def render_operation(method: str, path: str, operation: Schema) -> str:
    """Render an operation: what it does, parameters, body, answer, and examples."""
    scopes = [scope for way in operation.get("security", []) for scope in way.get("key", [])]
    needs = f" · scope {' or '.join(f'`{scope}`' for scope in scopes)}" if scopes else " · no key"
    parts = [f"### {_title(operation)}", f"`{method} {path}`{needs}", _clean(operation.get("description", ""))]
    rows = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), _clean(each.get("description", ""), " "))
        for each in operation.get("parameters", [])
    ]
    if rows:
        parts.append(render_table(("parameter", "in", "values", "meaning"), rows))
    if bodies := _describe_bodies(operation):
        parts.append(f"Body: {bodies}.")
    parts.append(f"Answers: {_describe_answers(operation)}.")
    example = EXAMPLES[f"{method} {path}"]
    mark = f"<!-- not run: {example.not_run} -->\n" if example.not_run else ""
    for name, language, code in (
        ("curl", "sh", write_curl(method, path, example)),
        ("Python", "python", write_python(method, path, example)),
    ):
        block = f"{mark}```{language}\n{code}\n```"
        parts.append(f'=== "{name}"\n\n' + "\n".join(f"    {line}" for line in block.splitlines()))
    return "\n\n".join(part for part in parts if part)


def write_curl(method: str, path: str, example: Example) -> str:
    """Write the example as a command."""
    words = ["curl", "-s"]
    if example.output:
        words += ["-o", example.output]
    if example.file:
        words += ["-T", example.file]
    if method != "GET" and not (method == "POST" and example.json is not None):
        words += ["-X", method]
    words += [f"-H '{name}: {value}'" for name, value in example.headers.items()]
    address = f"{ADDRESS}{_fill(path, example)}{_write_query(example)}"
    words.append(f'"{address}"' if "?" in address else address)
    if example.json is not None:
        body = re.sub(r"\$[A-Z]+", lambda found: f"'{found[0]}'", json.dumps(example.json, ensure_ascii=False))
        words.append(f"--json '{body}'")
    return " ".join(words)


def write_python(method: str, path: str, example: Example) -> str:
    """Write the example as Python."""
    address = _in_braces(_fill(path, example))
    arguments = [f'{"f" if "{" in address else ""}"{address}"']
    if example.query:
        arguments.append(f"params={_literal(example.query)}")
    if example.headers:
        arguments.append(f"headers={_literal(example.headers)}")
    if example.json is not None:
        arguments.append(f"json={_literal(example.json)}")
    if example.file:
        arguments.append(f'content=open("{example.file}", "rb")')
    lines = [f"answer = api.{method.lower()}({', '.join(arguments)}).raise_for_status()"]
    if example.output:
        lines.append(f'open("{example.output}", "wb").write(answer.content)')
    return "\n".join(lines)


def _fill(path: str, example: Example) -> str:
    """Put what stands for them in the place of a path's parameters."""
    for name, variable in VARIABLES.items():
        path = path.replace(f"{{{name}}}", variable)
    name = example.name or next((name for start, name in NAMES.items() if path.startswith(start)), "")
    return path.replace("{name}", name)


def _write_query(example: Example) -> str:
    return f"?{urlencode(example.query, safe='$,')}" if example.query else ""


def _in_braces(text: str) -> str:
    """Write $JOB as {job}, for an f-string."""
    return re.sub(r"\$([A-Z]+)", lambda found: f"{{{found[1].lower()}}}", text)


def _literal(value: Any) -> str:
    """Write a value as Python, in which "$JOB" is the variable `job`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, str):
        if re.fullmatch(r"\$[A-Z]+", value):
            return value[1:].lower()
        return ("f" if "$" in value else "") + json.dumps(_in_braces(value), ensure_ascii=False)
    return repr(value)


def _describe_bodies(operation: Schema) -> str:
    found = []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        if "$ref" in schema:
            found.append(f"JSON, {_type(schema)}")
        elif kind == "application/json":
            fields = ", ".join(f"`{name}`" for name in schema.get("properties", {}))
            found.append(f"JSON with {fields}" if fields else f"JSON, {_type(schema)}")
        elif kind == "multipart/form-data":
            found.append("a form with " + ", ".join(f"`{name}`" for name in schema.get("properties", {})))
        else:
            found.append(f"the file, `{kind}`")
    return "; or ".join(dict.fromkeys(found))


def _describe_answers(operation: Schema) -> str:
    found = []
    for status, answer in operation["responses"].items():
        if status in ("401", "403", "422"):
            continue
        schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
        kinds = [_type(schema) for schema in schemas if schema]
        text = " or ".join(dict.fromkeys(kind for kind in kinds if kind != "any"))
        meaning = "" if answer["description"] == "Successful Response" else f" ({answer['description']})"
        found.append(f"{status} {text}" if text else f"{status}{meaning}")
    return ", ".join(found)


def _render_objects(schema: Schema) -> Iterator[str]:
    """Render the objects that operations take and give, but for those of the recipe."""
    schemas = schema["components"]["schemas"]
    waiting = sorted({name for operations in schema["paths"].values() for name in find_references(operations)})
    shown: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in shown | OF_THE_RECIPE | NOT_SHOWN:
            continue
        shown.add(name)
        waiting += sorted(set(find_references(schemas[name])) - shown)
    for name in sorted(shown):
        if not name.startswith("Page_"):
            yield f"### {name}"
            yield from _render_object(schemas[name])


def _render_object(schema: Schema) -> Iterator[str]:
    if text := _clean(schema.get("description", "")):
        yield text
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
    rows = [
        (f"`{name}`", _type(field), _clean(field.get("description", ""), " "))
        for name, field in schema.get("properties", {}).items()
    ]
    if rows:
        yield render_table(("field", "values", "meaning"), rows)


def _type(schema: Mapping[str, Any]) -> str:
    """Describe the values that a schema allows, with links to objects, and its default."""
    default = schema.get("default")
    is_plain = isinstance(default, (int, float, str)) and default != ""
    return _describe_values(schema) + (f", else `{json.dumps(default)}`" if is_plain else "")


def _describe_values(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum") or [schema["const"]])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "string" and schema.get("format") in ("date-time", "binary"):
        return {"date-time": "time", "binary": "file"}[schema["format"]]
    return {"string": "text", "boolean": "true or false"}.get(kind, str(kind))


def _link(name: str) -> str:
    if name in OF_THE_RECIPE:
        return "[recipe](techniques.md)"
    if page := re.fullmatch(r"Page_(\w+)_", name):
        return f"a page of {_link(page[1])}"
    return f"[{name}](#{name.lower()})"


def _title(operation: Schema) -> str:
    return str(operation["summary"]).capitalize()


def _clean(text: str, joint: str = "\n") -> str:
    return joint.join(line.strip() for line in text.strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(render_page(describe_api()), encoding="utf-8")
