"""Classes of the client: those of the service's own description, and no others."""

from __future__ import annotations

from graphlib import CycleError

import pytest

from tools import client_results


def test_the_classes_are_those_of_the_api() -> None:
    written = {path.stem: path.read_text(encoding="utf-8") for path in client_results.FOLDER.glob("*.py")}
    assert written == client_results.render_modules(), "run: make docs"


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "array", "items": {"$ref": "#/components/schemas/Page"}}, "list[Page]"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "datetime | None"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "dict[str, float]"),
        ({"type": "object", "additionalProperties": True}, "dict[str, Any]"),
        ({"enum": ["a", "b"], "type": "string"}, "Literal['a', 'b']"),
        ({"$ref": "#/components/schemas/Cache-Output"}, "Cache"),
        ({}, "Any"),
    ],
)
def test_types_of_json_schema_become_those_of_python(schema: dict[str, object], kind: str) -> None:
    assert client_results.render_type(schema) == kind


def test_a_class_stands_after_those_that_it_holds_and_a_cycle_is_told() -> None:
    reference = {name: {"$ref": f"#/components/schemas/{name}"} for name in "abc"}
    held = {
        "a": {"properties": {"b": reference["b"], "a": reference["a"]}},
        "b": {"items": [reference["c"]]},
        "c": {},
    }
    assert client_results.sort_schemas(["a", "b", "c"], held) == ["c", "b", "a"]
    with pytest.raises(CycleError):
        client_results.sort_schemas(["a", "b"], {**held, "b": reference["a"]})
