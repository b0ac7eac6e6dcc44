"""Login of the page: an API key becomes a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from service.database import Database
from service.dependencies import DatabaseDep
from service.errors import Unauthorized
from service.keys import repository
from service.keys.authentication import COOKIE
from service.pages.rendering import render

router = APIRouter(include_in_schema=False)

MOST_KEY, MOST_ADDRESS = 200, 2000


@router.get("/login")
def show_login(
    request: Request, after: Annotated[str, Query(alias="next", max_length=MOST_ADDRESS)] = "/"
) -> HTMLResponse:
    """Show the form that asks for an API key."""
    return _build_page(request, "", after, 200)


@router.post("/login")
async def log_in(
    request: Request,
    database: DatabaseDep,
    key: Annotated[str, Form(max_length=MOST_KEY)] = "",
    after: Annotated[str, Form(alias="next", max_length=MOST_ADDRESS)] = "/",
) -> Response:
    """Set the cookie, and go where the user wanted to go."""
    secret = key.strip()
    try:
        await run_in_threadpool(_check, database, secret)
    except Unauthorized as error:
        return _build_page(request, error.detail.split(". ")[0] + ".", after, error.status)
    response = RedirectResponse(_keep_local(after), status_code=303)
    is_secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, secret, httponly=True, samesite="lax", secure=is_secure, path="/")
    return response


@router.post("/logout")
def log_out() -> Response:
    """Delete the cookie; the key itself stays valid."""
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax", path="/")
    return response


def _check(database: Database, secret: str) -> None:
    with database.reading() as session:
        repository.authenticate(session, secret)


def _build_page(request: Request, message: str, after: str, status: int) -> HTMLResponse:
    response = render(request, "login.html", status, message=message, next=_keep_local(after))
    response.headers["Cache-Control"] = "no-store"
    return response


def _keep_local(address: str) -> str:
    """Keep an address of this service, and replace any other by the start."""
    is_local = (
        address.startswith("/") and not address.startswith("//") and "\\" not in address and address.isprintable()
    )
    return address if is_local else "/"
