"""The command line against a running service."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from graft.cli import app
from tests.support import deployments
from tests.support.images import coloured_classes
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from pathlib import Path


def test_trains_from_a_folder_and_lists_the_results(tmp_path: Path) -> None:
    write_backbone(tmp_path / "backbones" / "small")
    for name, data in coloured_classes(2, 12).items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"epochs": 3}')
    output = tmp_path / "out.safetensors"
    with deployments.embedded(tmp_path / "data", tmp_path / "backbones") as url:

        def run(*arguments: str) -> str:
            done = CliRunner().invoke(app, [*arguments, "--url", url])
            assert done.exit_code == 0, done.output
            return done.output

        printed = run(
            "train",
            str(tmp_path / "photos"),
            "--backbone",
            "local/small",
            "--recipe",
            str(recipe),
            "--output",
            str(output),
        )
        assert "test accuracy" in printed
        assert output.stat().st_size > 1_000_000
        jobs = json.loads(run("jobs", "--json"))
        assert [job["status"] for job in jobs] == ["succeeded"]
        assert "local/small" in run("backbones", "small", "--source", "local")
        assert "photos" in run("datasets")
        assert json.loads(run("inspect", "local/small"))["inspection"]["cuts"]
        (cache,) = json.loads(run("cache", "--json"))
        assert cache["misses"] > 0
        (cache,) = json.loads(run("cache", "--empty", "--json"))
        assert cache["emptying"]
        until = time.monotonic() + 30
        while cache["bytes"] or cache["emptying"]:
            assert time.monotonic() < until
            time.sleep(0.2)
            (cache,) = json.loads(run("cache", "--json"))
        assert not list((tmp_path / "data").glob("cache/*/*.rows"))
        assert json.loads(run("job", jobs[0]["id"]))["id"] == jobs[0]["id"]
        again = tmp_path / "again"
        run("download", jobs[0]["checkpoints"][0], "--output", str(again))
        assert again.read_bytes() == output.read_bytes()
        refused = CliRunner().invoke(app, ["cancel", jobs[0]["id"], "--url", url])
        assert refused.exit_code == 1
        assert "is succeeded" in refused.output


def test_a_missing_service_is_reported_in_one_line() -> None:
    done = CliRunner().invoke(app, ["jobs", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "graft up" in done.output
    assert "Traceback" not in done.output
