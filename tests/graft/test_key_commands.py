"""API keys on the command line: made in this machine's database, used and revoked by the API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.repository import ROOT
from tests.support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a service of its own that asks for keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")}
    return kept | {"GRAFT_DATA": str(tmp_path), "GRAFT_AUTH": "on", "GRAFT_PORT": str(free_port())}


def graft(environment: dict[str, str], *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    command = [sys.executable, "-m", "graft", *arguments]
    return subprocess.run(command, env=environment | more, cwd=ROOT, capture_output=True, text=True, check=False)


def wait_until_ready(url: str) -> None:
    """Wait until the API answers its probe."""
    until = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return


def test_the_first_key_is_made_on_the_machine_itself(environment: dict[str, str]) -> None:
    refused = graft(environment, "api")
    assert (refused.returncode, refused.stdout) == (os.EX_CONFIG, "")
    graft(environment, "migrate")
    refused = graft(environment, "api")
    assert "graft keys create NAME" in refused.stderr
    made = graft(environment, "keys", "create", "first", "--scope", "admin", "--if-none", "--json")
    secret = json.loads(made.stdout)["secret"]
    assert graft(environment, "keys", "create", "second", "--if-none").stdout == ""
    url = {"GRAFT_URL": f"http://127.0.0.1:{environment['GRAFT_PORT']}"}
    with subprocess.Popen([sys.executable, "-m", "graft", "api"], env=environment, cwd=ROOT) as api:
        wait_until_ready(url["GRAFT_URL"])
        without = graft(environment, "jobs", **url)
        assert without.returncode == 1
        assert "GRAFT_API_KEY" in without.stderr
        by_api = {**url, "GRAFT_API_KEY": secret}
        assert graft(environment, "jobs", **by_api).returncode == 0
        graft(environment, "keys", "create", "ci", "--scope", "read", "--expires", "30d", **by_api)
        listed = json.loads(graft(environment, "keys", "list", "--json", **by_api).stdout)
        assert [key["name"] for key in listed] == ["ci", "first"]
        assert listed == json.loads(graft(environment, "keys", "list", "--json").stdout)
        assert graft(environment, "keys", "revoke", listed[1]["id"]).stderr == ""
        assert "was revoked" in graft(environment, "jobs", **by_api).stderr
        api.terminate()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "x", "--scope", "root"], "scopes"),
        (["create", ""], "name"),
        (["create", "x", "--expires", "soon"], "30d"),
        (["create", "x", "--expires", "0d"], "30d"),
        (["revoke", "key_x"], "There is no API key key_x"),
    ],
)
def test_a_mistake_is_one_line(environment: dict[str, str], arguments: list[str], says: str) -> None:
    done = graft(environment, "keys", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
