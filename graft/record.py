"""Record: an object of the API, with its fields as typed attributes and the service's JSON by name."""

from __future__ import annotations

from collections.abc import Callable, KeysView, Mapping
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from graft import html

Convert = Callable[[Any], Any]
SUMMARY = ("id", "name", "status", "file", "kind", "model", "seq", "epoch")
"""Fields that the repr shows."""


class Record:
    """An object that the service sent.

    Fields are attributes of the types that the class declares: `job.created_at` is a datetime, `job.progress.epoch` a
    number. `job["created_at"]` is the JSON as it came, in which there are fields that are newer than this client, too.
    Two records are equal if their JSON is.
    """

    __slots__ = ("_json",)
    __iter__: Any = None  # else Python would count up from [0]

    def __init__(self, json: Mapping[str, Any]) -> None:
        self._json = json

    def __getattr__(self, name: str) -> Any:
        """Convert a field to the type that the class declares; raises AttributeError where the service sent none."""
        converters = {} if name.startswith("_") else _find_converters(type(self))  # type: ignore[arg-type]
        if name not in converters:
            raise AttributeError(f"{type(self).__name__} has no field {name}", name=name, obj=self)
        if name not in self._json:
            message = f"The service sent no {name}: it may be of another release than this client"
            raise AttributeError(message, name=name, obj=self)
        return converters[name](self._json[name])

    def __getitem__(self, name: str) -> Any:
        return self._json[name]

    def __contains__(self, name: object) -> bool:
        return name in self._json

    def keys(self) -> KeysView[str]:
        """List the names of the fields that the service sent; with it, dict(record) and {**record} work."""
        return self._json.keys()

    def get(self, name: str, default: Any = None) -> Any:
        """Get the JSON of a field, or `default` where the service sent none."""
        return self._json.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """Copy the service's JSON."""
        return dict(self._json)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record):
            return self._json == other._json
        return self._json == other if isinstance(other, Mapping) else NotImplemented

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_find_converters(type(self))]  # type: ignore[arg-type]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self._json[name]!r}" for name in SUMMARY if name in self._json)
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        """Render a table of the fields, for notebooks."""
        return html.render_fields(type(self).__name__, self._json)


Fields = Record | dict[str, Any]
"""An object of the API, or its JSON."""


@cache
def _find_converters(cls: type[Record]) -> dict[str, Convert]:
    """Find what makes of each field's JSON the value that the class declares."""
    hints = {name: hint for name, hint in get_type_hints(cls).items() if not name.startswith("_")}
    return {name: _choose_converter(hint) for name, hint in hints.items()}


def _choose_converter(hint: Any) -> Convert:
    """Choose the converter of a type: text, numbers and objects of any shape stay as they are."""
    if get_origin(hint) in (Union, UnionType):
        (one,) = (argument for argument in get_args(hint) if argument is not NoneType)
        convert = _choose_converter(one)
        return lambda value: None if value is None else convert(value)
    if get_origin(hint) is list:
        item = _choose_converter(get_args(hint)[0])
        return lambda value: [item(one) for one in value]
    if get_origin(hint) is dict:
        item = _choose_converter(get_args(hint)[1])
        return lambda value: {name: item(one) for name, one in value.items()}
    if hint is datetime:
        return datetime.fromisoformat
    return hint if isinstance(hint, type) and issubclass(hint, Record) else lambda value: value
