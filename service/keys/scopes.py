"""Scopes of API keys, and the one that each request needs."""

from __future__ import annotations

import re
from enum import StrEnum


class Scope(StrEnum):
    """Permissions of an API key."""

    READ = "read"
    """Read everything but API keys, downloads of checkpoints included."""
    PREDICT = "predict"
    """Have models predict, read the results of batch predictions, and nothing else."""
    WRITE = "write"
    """Create, change and delete datasets, jobs, checkpoints and backbones; read and predict too."""
    ADMIN = "admin"
    """Everything: API keys and caches too."""


INCLUDED = {
    Scope.READ: {Scope.READ},
    Scope.PREDICT: {Scope.PREDICT},
    Scope.WRITE: {Scope.READ, Scope.PREDICT, Scope.WRITE},
    Scope.ADMIN: set(Scope),
}
"""The scopes that each one includes."""
READING = ("GET", "HEAD", "OPTIONS")
OPEN = re.compile(r"/healthz|/readyz|/login|/static/.*|/guide(/.*)?")
"""Addresses that need no key: probes, the login, assets, and the guide."""
ADMINISTRATION = re.compile(r"(/v1)?/keys(/.*)?")
PREDICTION = re.compile(
    r"/v1/predict|/v1/predictions(/[^/]+/cancel)?|/v1/(models|checkpoints)/[^/]+/(predict|saliency)"
)
RESULTS = re.compile(r"/v1/predictions(/.*)?")
"""Batch predictions, which whoever may make them may read too."""
COMPARISON = re.compile(r"/v1/(models|checkpoints)/[^/]+/nearest")
"""POSTs that answer with training images, which keys that only predict do not see."""
DRY_RUNS = ("/v1/recipes/check",)
"""POSTs that change nothing."""


def needs_key(path: str) -> bool:
    """Tell whether an address is only for those who have an API key."""
    return OPEN.fullmatch(path) is None


def find_needed_scopes(method: str, path: str) -> tuple[Scope, ...]:
    """Find the scopes of which a request needs one."""
    if method in READING and RESULTS.fullmatch(path):
        return Scope.READ, Scope.PREDICT
    return (_find_needed_scope(method, path),)


def _find_needed_scope(method: str, path: str) -> Scope:
    if ADMINISTRATION.fullmatch(path) or (path == "/v1/cache" and method not in READING):
        return Scope.ADMIN
    if PREDICTION.fullmatch(path):
        return Scope.PREDICT
    is_reading = method in READING or path in DRY_RUNS or path == "/logout" or COMPARISON.fullmatch(path)
    return Scope.READ if is_reading else Scope.WRITE


def allows(scopes: list[str], needed: tuple[Scope, ...]) -> bool:
    """Tell whether a key with these scopes may send a request that needs one of others."""
    return any(INCLUDED[Scope(scope)].intersection(needed) for scope in scopes)
