"""Write docs/techniques.md from the catalog; run by `make docs`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from models.catalog.families import FAMILIES
from models.catalog.recipe import Recipe
from models.catalog.technique import Technique, members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

PAGE = Path(__file__).parents[1] / "docs" / "techniques.md"

HEAD = """\
# Techniques

Everything that a recipe can contain: each technique with its formula or paper, and its fields with their defaults,
ranges and meanings. `make docs` writes this page from the catalog (`models/catalog/`).

A recipe is the JSON object `recipe` of a job. The empty recipe is the recommended one, and fields left out have their
defaults. A technique is chosen by its `kind`; a technique with default fields can be written as its kind alone, and
fields without a kind belong to the family's default technique. `auto` is resolved from the data, and the job shows the
result. Values out of range and incompatible choices are refused with a message that says what to change.

```json
{
  "cut": {"kind": "gradual", "stages": 2, "every": 5},
  "head": {
    "kind": "mlp",
    "activation": "gelu",
    "hidden": [256, {"width": 64, "normalization": "layer_norm", "dropout": 0.5}]
  },
  "optimizer": {"kind": "nesterov", "lr": 0.01},
  "schedule": {"kind": "cosine", "warmup_epochs": 2},
  "gradient_clipping": "by_norm",
  "regularizers": [{"kind": "l2", "strength": 1e-4}, "max_norm"],
  "augmentations": ["crop", "horizontal_flip", {"kind": "colour", "saturation": 0.4}],
  "loss": {"kind": "cross_entropy", "label_smoothing": 0.1},
  "epochs": 60
}
```
"""

LOW = (("minimum", "≤", "≥"), ("exclusiveMinimum", "<", ">"))
HIGH = (("maximum", "≤"), ("exclusiveMaximum", "<"))
OF_FAMILIES = {technique.__name__: family for family, union in FAMILIES.items() for technique in members(union)}
OF_KINDS = {
    frozenset(str(technique.model_fields["kind"].default) for technique in members(union)): family
    for family, union in FAMILIES.items()
    if len(members(union)) > 1
}


def render_page() -> str:
    """Render the whole page."""
    contents = "\n".join(f"- {_render_link(family)}" for family in FAMILIES)
    sections = [section for family in FAMILIES for section in _render_family(family)]
    return "\n\n".join([HEAD.strip(), contents, "## The recipe", *_describe(Recipe), *sections]) + "\n"


def _render_family(family: str) -> Iterator[str]:
    techniques = members(FAMILIES[family])
    yield f"## {_render_title(family)}"
    summary = _docstring(sys.modules[techniques[0].__module__]).split("\n\n")[0].partition(": ")[2]
    fields = " and ".join(f"`{path}`" for path in sorted(set(_find_fields(family, Recipe)), key=len))
    yield f"{summary[:1].upper()}{summary[1:]}\nIn a recipe: {fields}."
    for technique in techniques:
        if "kind" in technique.model_fields:
            yield f"### `{technique.model_fields['kind'].default}`"
        yield from _describe(technique)


def _find_fields(family: str, technique: type[Technique], above: str = "") -> Iterator[str]:
    """Find the paths of the recipe's fields that hold a member of the family."""
    for name, field in technique.model_fields.items():
        path = f"{above}{name}[]" if get_origin(field.annotation) is tuple else above + name
        parts = members(field.annotation)
        if parts == members(FAMILIES[family]):
            yield path
        for part in parts:
            yield from _find_fields(family, part, f"{path}.")


def _describe(technique: type[Technique]) -> Iterator[str]:
    """Render a technique's docstring and the table of its fields, and the same for models that it alone uses."""
    yield _docstring(technique)
    values = technique.model_json_schema()["properties"]
    fields = {name: field for name, field in technique.model_fields.items() if name != "kind"}
    if fields:
        rows = [_render_row(name, field, values[name]) for name, field in fields.items()]
        yield "\n".join(["| field | default | values | meaning |", "|---|---|---|---|", *rows])
    for name, field in fields.items():
        for part in members(field.annotation):
            if part.__name__ not in OF_FAMILIES:
                yield f"`{part.__name__}`, in `{name}`:"
                yield from _describe(part)


def _render_row(name: str, field: FieldInfo, schema: Mapping[str, Any]) -> str:
    default = "required" if field.is_required() else _render_value(field.default)
    cells = (f"`{name}`", default, _describe_values(schema), " ".join((field.description or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _render_value(value: Any) -> str:
    if isinstance(value, Technique):
        return _render_choice(value)
    if isinstance(value, tuple):
        return ", ".join(map(_render_value, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"`{value}`" if isinstance(value, str) else json.dumps(value)


def _render_choice(technique: Technique) -> str:
    """Render a technique by its kind and the fields that differ from its defaults."""
    changed = technique.model_dump(mode="json", exclude_defaults=True)
    kind = getattr(technique, "kind", None)
    if changed:
        return f"`{json.dumps({'kind': kind, **changed} if kind else changed)}`"
    return f"`{kind}`" if kind else "its defaults"


def _describe_values(schema: Mapping[str, Any]) -> str:
    """Describe the values that a schema allows."""
    if "anyOf" in schema:
        return " or ".join(map(_describe_values, schema["anyOf"]))
    if "discriminator" in schema:
        return _render_link(OF_KINDS[frozenset(schema["discriminator"]["mapping"])])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _render_link(OF_FAMILIES[name]) if name in OF_FAMILIES else f"`{name}`, below"
    if "items" in schema:
        return f"list of {_describe_values(schema['items'])}"
    if "additionalProperties" in schema:
        return f"for each name: {_describe_values(schema['additionalProperties'])}"
    return _describe_scalar(schema)


def _describe_scalar(schema: Mapping[str, Any]) -> str:
    if "const" in schema or "enum" in schema:
        return " or ".join(map(_render_value, schema.get("enum") or [schema["const"]]))
    words = {"boolean": "true or false", "string": "text"}.get(schema["type"], schema["type"])
    if "examples" in schema:
        return f"{words}, such as `{schema['examples'][0]}`"
    low = [f"{_render_value(schema[bound])} {sign}" for bound, sign, _ in LOW if bound in schema]
    high = [f"{sign} {_render_value(schema[bound])}" for bound, sign in HIGH if bound in schema]
    if low and not high:
        return " ".join(
            [words, *(f"{sign} {_render_value(schema[bound])}" for bound, _, sign in LOW if bound in schema)]
        )
    return " ".join([*low, words, *high])


def _docstring(of: Any) -> str:
    return inspect.cleandoc(of.__doc__ or "")


def _render_title(family: str) -> str:
    return family.replace("_", " ").capitalize()


def _render_link(family: str) -> str:
    return f"[{_render_title(family).lower()}](#{family.replace('_', '-')})"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
