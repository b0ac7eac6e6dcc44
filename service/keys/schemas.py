"""API keys as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from service.keys.scopes import Scope
from service.pagination import Identified
from service.types import DescribedModel, Text, Timestamp

MAX_SECONDS = 100 * 365 * 86400.0


class KeyCreate(DescribedModel):
    """A request for an API key."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, description="Who or what uses it.")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = [Scope.WRITE]
    """read, predict, write (which includes these two) or admin (everything)."""
    expires_in: Annotated[float | None, Field(gt=0, le=MAX_SECONDS)] = None
    """Seconds after which it expires; null: never."""


class Key(Identified):
    """An API key, without its secret."""

    name: str
    prefix: str
    """The first characters of the secret."""
    scopes: list[Scope]
    created_by: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None
    """To the minute."""


class NewKey(Key):
    """A new API key with its secret, which is shown this once."""

    secret: str
