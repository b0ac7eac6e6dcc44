"""Documentation of the API: its OpenAPI description, and a page that shows it, from assets of the service's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from service.keys.scopes import find_needed_scopes, needs_key

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel

router = APIRouter(include_in_schema=False)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API · Graft</title>
<link rel="stylesheet" href="/static/vendor/swagger-ui/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/static/vendor/swagger-ui/swagger-ui-bundle.js"></script>
<script src="/static/documentation.js"></script>
</body>
</html>
"""
# Swagger UI sets styles of its own, and shows icons as data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SCHEME = "key"
"""Name of the security scheme in the description."""
GROUPS = (
    "datasets",
    "uploads",
    "backbones",
    "techniques",
    "jobs",
    "checkpoints",
    "predictions",
    "models",
    "cache",
    "workers",
    "keys",
    "health",
)
"""Groups of operations, in the order of the documentation; the router has another one."""
REFUSALS = {
    "401": {"description": "An API key is missing, unknown, revoked or expired"},
    "403": {"description": "The API key lacks the scope, or a page of another site asks"},
}


@router.get("/docs")
def show_documentation() -> HTMLResponse:
    """Show the API's documentation, where each call can be tried."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Describe the API in OpenAPI's terms, with the scope that each operation needs where keys are asked for."""
    if app.openapi_schema is None:
        tags = [{"name": group} for group in GROUPS]
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, tags=tags, routes=app.routes)
        schema.setdefault("components", {})["securitySchemes"] = {
            SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key, where GRAFT_AUTH asks for one."}
        }
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                if needs_key(path):
                    scopes = find_needed_scopes(method.upper(), path)
                    operation["security"] = [{}, *({SCHEME: [scope.value]} for scope in scopes)]
                    operation["responses"] |= REFUSALS
        app.openapi_schema = schema
    return app.openapi_schema


def write_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Write the JSON Schema of a body without references, for an operation that takes other bodies too."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [resolve(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolve(definitions[value["$ref"].rpartition("/")[2]])
        return {name: resolve(one) for name, one in value.items() if name != "discriminator"}

    return {name: resolve(one) for name, one in schema.items()}
