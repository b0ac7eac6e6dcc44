"""Write graft/results/, the classes of the client, from the OpenAPI description; run by `make docs`."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.record import Record
from tools.generated import describe_api, find_references, format_code

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parents[1] / "graft" / "results"
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
SHARED = "shared"
"""Module of objects of several groups of operations."""
NOTE = "# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again."


def render_modules() -> dict[str, str]:
    """Render the modules of graft/results/ by name: one for each group of operations, and what they share."""
    description = describe_api()
    schemas: dict[str, Any] = description["components"]["schemas"]
    groups = _group(description["paths"], schemas)
    modules = defaultdict(list)
    for name in sorted(groups):
        if not name.startswith("Page_"):
            modules[SHARED if len(groups[name]) > 1 else min(groups[name])].append(name)
    homes = {name: module for module, names in modules.items() for name in names}
    texts = {
        "__init__": '"""Objects of the API as classes: fields with types, by group of operations."""\n',
        **{module: _render(module, names, schemas, homes) for module, names in sorted(modules.items())},
    }
    return {module: format_code(text, FOLDER / f"{module}.py") for module, text in texts.items()}


def _group(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, set[str]]:
    """Find the groups of operations that answer with each schema, or with one that holds it."""
    groups: dict[str, set[str]] = defaultdict(set)
    for operation in (operation for operations in paths.values() for operation in operations.values()):
        (group,) = operation["tags"]
        pending = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        while pending:
            for one in find_references(pending.pop()):
                if group not in groups[one]:
                    groups[one].add(group)
                    pending.append(schemas[one])
    return groups


def _render(module: str, names: list[str], schemas: Mapping[str, Any], homes: Mapping[str, str]) -> str:
    """Render a module: its classes, those without references to others of it first."""
    classes = {name: _render_class(name, schemas[name]) for name in names}
    used = find_references([schemas[name] for name in names])
    imports = [f"from graft.results.{homes[name]} import {_name(name)}" for name in sorted(used - set(names))]
    text = "\n\n\n".join(classes[name] for name in sort_schemas(names, schemas))
    needed = [
        *(["from datetime import datetime"] if "datetime" in text else []),
        *(
            [f"from typing import {', '.join(kinds)}"]
            if (kinds := [k for k in ("Any", "Literal") if k in text])
            else []
        ),
        "from graft.record import Record",
        *imports,
    ]
    title = "Objects of several groups of operations" if module == SHARED else f"Objects of the group {module}"
    return "\n".join([f'"""{title}."""', NOTE, "from __future__ import annotations", *needed, "", text]) + "\n"


def sort_schemas(names: list[str], schemas: Mapping[str, Any]) -> list[str]:
    """Sort the schemas of a module so that one stands after those that it holds; raises CycleError."""
    held = {name: sorted((find_references(schemas[name]) & set(names)) - {name}) for name in names}
    return list(TopologicalSorter(held).static_order())


def _render_class(name: str, schema: Mapping[str, Any]) -> str:
    about = schema["description"]
    if "enum" in schema:
        values = ", ".join(f'"{value}"' for value in schema["enum"])
        return f'{_name(name)} = Literal[{values}]\n"""{about}"""'
    if "\n" in about:
        about = textwrap.indent(about + "\n", "    ").lstrip() + "    "
    lines = [f"class {_name(name)}(Record):", f'    """{about}"""', ""]
    for field, value in schema["properties"].items():
        if hasattr(Record, field):
            raise ValueError(f"{name}.{field} would hide a method of Record")
        lines.append(f"    {field}: {render_type(value)}")
        if "description" in value:
            meaning = textwrap.fill(" ".join(value["description"].split()), 110, subsequent_indent="    ")
            lines.append(f'    """{meaning}"""')
    return "\n".join(lines)


def render_type(schema: Mapping[str, Any]) -> str:
    """Render a JSON Schema as a type of Python."""
    if "$ref" in schema:
        return _name(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(render_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    if schema.get("type") == "array":
        return f"list[{render_type(schema['items'])}]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {render_type(values) if isinstance(values, dict) else 'Any'}]"
    return "datetime" if schema.get("format") == "date-time" else SCALARS.get(schema.get("type", ""), "Any")


def _name(schema: str) -> str:
    """Name the class of a schema; FastAPI appends to the name of one that requests have, too."""
    return schema.removesuffix("-Output")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in render_modules().items():
        (FOLDER / f"{name}.py").write_text(text, encoding="utf-8")
