"""HTTP of API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from service.dependencies import CreatedByDep, DatabaseDep
from service.json_body import JsonRoute
from service.keys import repository
from service.keys.schemas import Key, KeyCreate, NewKey
from service.pagination import After, Page, PageSize, shaped_like

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=JsonRoute)


@router.post("", status_code=201)
def create_key(body: KeyCreate, response: Response, database: DatabaseDep, created_by: CreatedByDep) -> NewKey:
    """Create an API key. Its secret is shown in this answer alone."""
    with database.writing() as session:
        key, secret = repository.create(session, body.name, body.scopes, body.expires_in, created_by)
        created = NewKey(**dict(Key.model_validate(key)), secret=secret)
    response.headers["Location"] = f"/v1/keys/{created.id}"
    response.headers["Cache-Control"] = "no-store"
    return created


@router.get("")
def list_keys(
    database: DatabaseDep, limit: PageSize = 20, after: Annotated[After, shaped_like("key")] = None
) -> Page[Key]:
    """List API keys, newest first, revoked ones included."""
    with database.reading() as session:
        rows = repository.find_page(session, limit=limit, after=after)
    return Page.from_items([Key.model_validate(row) for row in rows], limit)


@router.get("/{key_id}")
def get_key(key_id: str, database: DatabaseDep) -> Key:
    """Get an API key, without its secret."""
    with database.reading() as session:
        return Key.model_validate(repository.get(session, key_id))


@router.delete("/{key_id}", status_code=204)
def revoke_key(key_id: str, database: DatabaseDep) -> None:
    """Revoke an API key at once and for good; it stays in the list."""
    with database.writing() as session:
        repository.revoke(session, key_id)
