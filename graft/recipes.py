"""Recipes from files and options: JSON or YAML, and --set optimizer.kind=nesterov."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

from graft.errors import InputUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

YAML = (".yaml", ".yml")


def build_recipe(path: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """Build a recipe of a file, if there is one, and options like lr=0.1 on top; raises InputUnusable."""
    recipe = read_recipe(path) if path else {}
    for setting in settings:
        apply_setting(recipe, setting)
    return recipe


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe's file, YAML if it is named so; raises InputUnusable where it holds no object that can be sent."""
    try:
        data = path.read_bytes()
        recipe = _parse_yaml(path, data) if path.suffix.lower() in YAML else _parse_json(path, data)
        _check_sendable(recipe)
    except OSError as error:
        raise InputUnusable(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InputUnusable(f"The recipe {path} cannot be sent: {error}.") from None
    if not isinstance(recipe, dict):
        raise InputUnusable(f"The recipe {path} must be a JSON object, in braces {{ }}, or the same in YAML.")
    return recipe


def apply_setting(recipe: dict[str, Any], setting: str) -> None:
    """Set a field: FIELD.FIELD=VALUE, where VALUE is JSON, or text where it is none; raises InputUnusable.

    A technique that is named by its kind alone is kept: with `optimizer: adam`, optimizer.lr=0.1 is of adam.
    """
    path, equals, text = setting.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise InputUnusable(f"--set {setting}: write FIELD=VALUE, as in --set optimizer.kind=nesterov.")
    place: Any = recipe
    for name in names[:-1]:
        place = _step_into(place, name, setting)
    try:
        value = _parse_value(text)
        _check_sendable({names[-1]: value})
    except (ValueError, RecursionError) as error:
        raise InputUnusable(f"--set {path}: the value cannot be sent: {error}.") from None
    if isinstance(place, list):
        place[_find_index(place, names[-1], setting)] = value
    else:
        place[names[-1]] = value


def _step_into(place: Any, name: str, setting: str) -> Any:
    """Get the object or list in a field, made where there is none."""
    key: Any = _find_index(place, name, setting) if isinstance(place, list) else name
    found = place[key] if isinstance(place, list) else place.get(key)
    if isinstance(found, str):
        found = {"kind": found}
    if found is None:
        found = {}
    if not isinstance(found, dict | list):
        raise InputUnusable(f"--set {setting}: {name} is {json.dumps(found)}, which has no fields.")
    place[key] = found
    return found


def _find_index(place: list[Any], name: str, setting: str) -> int:
    if not place:
        raise InputUnusable(f"--set {setting}: the list is empty; set it whole, in brackets: FIELD='[…]'.")
    if not name.isdecimal() or int(name) >= len(place):
        raise InputUnusable(f"--set {setting}: {name} is none of the places 0 to {len(place) - 1} of the list.")
    return int(name)


def _parse_value(text: str) -> Any:
    """Parse JSON, or take the text as it is; raises ValueError for JSON that loses something."""
    try:
        return json.loads(text, object_pairs_hook=_build_object)
    except json.JSONDecodeError:
        return text


def _check_sendable(value: Any) -> None:
    """Check that JSON can hold a value; raises ValueError, TypeError or RecursionError."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _parse_json(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_build_object)
    except json.JSONDecodeError as error:
        ends = error.doc[: error.pos].rstrip().endswith(",") and error.doc[error.pos :].lstrip().startswith(("}", "]"))
        mistake = "a comma with nothing after it" if ends else error.msg
        raise InputUnusable(
            f"The recipe {path} is no JSON: line {error.lineno}, column {error.colno}: {mistake}."
        ) from None


def _parse_yaml(path: Path, data: bytes) -> Any:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise InputUnusable(
            f"The recipe {path} is YAML, which needs the package pyyaml: pip install 'graft[yaml]', or write JSON."
        ) from None
    loader = yaml.SafeLoader(data)
    try:
        root = loader.get_single_node()
        if root is None:
            return {}
        _check_mappings(root, yaml.MappingNode)
        recipe = loader.construct_document(root)
    except yaml.YAMLError as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "it cannot be read"
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputUnusable(f"The recipe {path} is no YAML: {place}{what}.") from None
    finally:
        loader.dispose()
    return {} if recipe is None else recipe


def _check_mappings(root: Any, mapping: type[Any]) -> None:
    """Check that no field stands twice in a mapping of YAML; those of a merge (<<) may be replaced."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen or not isinstance(node.value, list):
            continue
        seen.add(id(node))
        if not isinstance(node, mapping):
            pending += node.value
            continue
        _build_object([(key.value, None) for key, _ in node.value if isinstance(key.value, str)])
        pending += [value for _, value in node.value]


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; raises ValueError where a field stands twice, of which one would be lost."""
    built = dict(pairs)
    if len(built) < len(pairs):
        raise ValueError("a field stands twice in it")
    return built
