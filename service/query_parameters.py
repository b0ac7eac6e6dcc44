"""Query parameters: none that an endpoint does not know, none twice; they would be ignored in silence."""

import difflib
import re
from collections import Counter

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

CHECKED = "/v1/"
"""Addresses that are checked: those of probes may carry anything."""


def none_if_empty(value: str | None) -> str | None:
    """Take `?status=` for no filter, as a form sends it that is not filled in."""
    return value or None


def find_labels(request: Request, name: str) -> dict[str, str]:
    """Find the parameters NAME[KEY]=VALUE."""
    pattern = _match_labels(name)
    return {found[1]: value for key, value in request.query_params.items() if (found := pattern.fullmatch(key))}


async def check_query(request: Request) -> None:
    """Refuse a query parameter that the endpoint does not know, or that is given twice."""
    if not request.url.query or not request.url.path.startswith(CHECKED):
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = {parameter.alias for parameter in route.dependant.query_params}
    labels = {parameter["name"] for parameter in (route.openapi_extra or {}).get("parameters", ())}
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known and not any(_match_labels(label).fullmatch(name) for label in labels):
            raise _refuse(name, _list_known(name, known | {f"{label}[KEY]" for label in labels}))
        if count > 1:
            raise _refuse(name, f"is given {count} times; give it once")


def _match_labels(name: str) -> re.Pattern[str]:
    return re.compile(rf"{name}\[(.*)\]", re.DOTALL)


def _list_known(name: str, known: set[str]) -> str:
    if not known:
        return "is unknown; this address takes no parameters"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"is unknown; {hint}this address takes {', '.join(sorted(known))}"


def _refuse(name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "query", "loc": ("query", name[:100]), "msg": message, "input": None}])
