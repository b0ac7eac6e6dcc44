"""Push a folder to a repository of the Hugging Face Hub, in one commit.

The Hub's own library streams open files; large ones go to its storage first, and are published by the commit alone. So
a push that breaks off has published nothing.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from service.pushes.errors import PushFailed, PushRefused
from service.pushes.schemas import Pushed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.pushes.folder import ExportedFolder
    from service.pushes.schemas import HubPush

TIMEOUT_SECONDS = 60.0
"""Silence after which the Hub counts as away; its library would wait for ever."""


def push(request: HubPush, folder: ExportedFolder) -> Pushed:
    """Commit the files of a folder. Raises PushRefused, PushFailed."""
    # Only here: it takes a fifth of a second to load, and the API needs it for nothing else.
    from huggingface_hub import CommitOperationAdd, HfApi, get_session

    token = request.token.get_secret_value()
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    get_session().timeout = TIMEOUT_SECONDS
    with _naming_errors(request, token), ExitStack() as files:
        hub.create_repo(request.repo, private=request.private, exist_ok=True)
        if request.revision != "main":
            hub.create_branch(request.repo, branch=request.revision, exist_ok=True)
        operations = [
            CommitOperationAdd(name, files.enter_context(folder.open(name)))  # type: ignore[arg-type]
            for name in folder.sizes
        ]
        commit = hub.create_commit(
            request.repo, operations, commit_message=request.message, revision=request.revision, num_threads=1
        )
    url = f"{hub.endpoint}/{request.repo}/tree/{commit.oid}"
    return Pushed(to="hub", url=url, version=commit.oid, files=list(folder.sizes), bytes=folder.total_bytes)


@contextmanager
def _naming_errors(request: HubPush, token: str) -> Iterator[None]:
    """Raise PushRefused where the Hub says no, and PushFailed where it fails; neither has the token in its text."""
    from huggingface_hub.errors import HfHubHTTPError

    detail = f"The Hub did not take {request.repo}"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        message = (error.server_message or f"it answers {status}").replace(token, "…")
        if status >= 500 or status == 429:
            raise PushFailed(f"{detail}: {message:.500}. Nothing was published; send the request again.") from None
        hint = "Check the token: it needs the right to write to the repository." if status in (401, 403, 404) else ""
        raise PushRefused(f"{detail}: {message:.500}. {hint}".strip()) from None
    except (PushRefused, PushFailed):
        raise
    except Exception as error:  # its library raises ValueError, RuntimeError and errors of two HTTP libraries
        cause = error.__cause__ or error
        message = f"{type(cause).__name__}: {cause}".replace(token, "…")
        raise PushFailed(f"{detail}: {message:.500}. Nothing was published; send the request again.") from None
