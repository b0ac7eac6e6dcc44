"""Every query about API keys."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import or_, select, update

from service.keys.errors import HOW, KeyExpired, KeyInvalid, KeyNotFound, KeyRevoked
from service.table_base import new_id, now
from service.tables import ApiKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from service.keys.scopes import Scope

MARK = "graft_"
"""How secrets begin, so that people and scanners of repositories know them."""
PREFIX_BYTES, SECRET_BYTES = 4, 32
USE_SECONDS = 60.0
"""Time for which uses of a key are not recorded after one that was."""


class CreatedKey(NamedTuple):
    """A new key and its secret, which is nowhere stored."""

    key: ApiKey
    secret: str


def create(
    session: Session, name: str, scopes: Sequence[Scope], expires_in: float | None = None, created_by: str | None = None
) -> CreatedKey:
    """Create an API key, valid for `expires_in` seconds or until it is revoked."""
    prefix = f"{MARK}{secrets.token_hex(PREFIX_BYTES)}"
    secret = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    moment = session.scalars(select(now())).one()
    key = ApiKey(
        id=new_id("key"),
        name=name,
        prefix=prefix,
        digest=_digest(secret),
        scopes=[scope.value for scope in scopes],
        created_by=created_by,
        created_at=moment,
        expires_at=None if expires_in is None else moment + expires_in,
    )
    session.add(key)
    session.flush()
    return CreatedKey(key, secret)


def authenticate(session: Session, secret: str) -> ApiKey:
    """Find the key that has this secret; raises KeyInvalid, KeyRevoked, KeyExpired."""
    prefix = secret[: len(MARK) + 2 * PREFIX_BYTES]
    found = session.execute(select(ApiKey, now()).where(ApiKey.prefix == prefix)).one_or_none()
    if found is None or not hmac.compare_digest(found[0].digest, _digest(secret)):
        raise KeyInvalid(f"No API key is as the one that was sent. {HOW}")
    key, moment = found
    if key.revoked_at is not None:
        raise KeyRevoked(f"The API key {key.id} ({key.name}) was revoked. Ask for a new one.")
    if key.expires_at is not None and key.expires_at <= moment:
        raise KeyExpired(f"The API key {key.id} ({key.name}) has expired. Ask for a new one.")
    return key


def is_use_due(session: Session, key: ApiKey) -> bool:
    """Tell whether the last recorded use of the key is so old that another is to be recorded."""
    return key.last_used_at is None or session.scalars(select(now())).one() - key.last_used_at > USE_SECONDS


def record_use(session: Session, key_id: str) -> None:
    """Record that the key is used now."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now()))


def revoke(session: Session, key_id: str) -> ApiKey:
    """Revoke a key, for good; once more changes nothing. Raises KeyNotFound."""
    key = get(session, key_id)
    if key.revoked_at is None:
        key.revoked_at = session.scalars(select(now())).one()
    return key


def get(session: Session, key_id: str) -> ApiKey:
    """Get a key; raises KeyNotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise KeyNotFound(f"There is no API key {key_id}. GET /v1/keys lists them.")
    return key


def find_page(session: Session, *, limit: int, after: str | None = None) -> list[ApiKey]:
    """Find the newest `limit` + 1 keys before `after`, revoked ones included."""
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(limit + 1)
    return list(session.scalars(query if after is None else query.where(ApiKey.id < after)))


def has_valid(session: Session) -> bool:
    """Tell whether there is a key that is neither revoked nor expired."""
    return session.scalar(select(ApiKey.id).where(_select_valid()).limit(1)) is not None


def is_valid(session: Session, key_id: str) -> bool:
    """Tell whether a key is neither revoked nor expired by now."""
    return session.scalar(select(ApiKey.id).where(ApiKey.id == key_id, _select_valid())) is not None


def _select_valid() -> ColumnElement[bool]:
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
