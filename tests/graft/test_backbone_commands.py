"""The command line of backbones against a service without workers."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from sqlalchemy import select
from typer.testing import CliRunner

from graft.cli import app
from graft.client import Client
from graft.errors import GraftError
from service.app import create_app
from service.backbones import imports, pretraining
from service.database import Database
from service.settings import Settings
from service.tables import Backbone, Recommendation
from tests.support.datasets import add_dataset
from tests.support.recommendations import cancel, succeed
from tests.support.serving import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typer.testing import Result


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the API in a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="warning"))
    with running(server):
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    """Settings on a migrated database."""
    return Settings(data=tmp_path / "data", database_url=sqlite_url)


@pytest.fixture
def importing(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """End imports as a worker would; filled with the options of each."""
    database, stopping = Database(settings.database), threading.Event()
    seen: list[dict[str, Any]] = []

    def work() -> None:
        while not stopping.wait(0.05):
            with database.writing() as session:
                for row in session.query(Backbone).where(Backbone.status == "importing"):
                    seen.append({**(row.options or {}), "samples": row.samples is not None})
                    if "preprocessing" not in seen[-1]:
                        report = {"preprocessing": {"proposal": {"mean": [0.5, 0.5, 0.5]}}}
                        imports.reject(session, row, "preprocessing_needed", "Say mean and std.", report)
                        continue
                    summary = {"architecture": "graph", "parameters": 7, "input_size": [3, 32, 32]}
                    imports.accept(session, row, summary=summary, files={}, inspection={}, report={})

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield seen
    stopping.set()
    thread.join()
    database.close()


@contextmanager
def recommending(settings: Settings, end: Callable[[Database, str], None]) -> Iterator[Database]:
    """End recommendations as a worker would; gives the database."""
    database, stopping = Database(settings.database), threading.Event()

    def work() -> None:
        while not stopping.wait(0.05):
            with database.reading() as session:
                queued = list(session.scalars(select(Recommendation.id).where(Recommendation.status == "queued")))
            for recommendation in queued:
                end(database, recommendation)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield database
    finally:
        stopping.set()
        thread.join()
        database.close()


def add_candidates(database: Database) -> str:
    """Add a dataset and two backbones that are at hand; returns the dataset's id."""
    with database.writing() as session:
        for name in ("local/a", "local/b"):
            session.add(Backbone(id=name, source="local", status="listed", architecture="a", attempt=0, crashes=0))
    return add_dataset(database)


def test_a_ranking_that_was_cancelled_says_so(settings: Settings) -> None:
    with recommending(settings, cancel) as database, serving(settings) as url:
        command = ["backbones", "recommend", add_candidates(database), "--url", url]
        done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
        assert done.exit_code == 4, done.output
        assert "a candidate that is not measured may be better" in done.output
        assert "local/a is expected to have accuracy 90.0%." in done.output
        assert CliRunner().invoke(app, [*command, "--json"]).exit_code == 4


def test_backbones_are_ranked(settings: Settings) -> None:
    with recommending(settings, succeed) as database, serving(settings) as url:
        dataset = add_candidates(database)

        def run(*arguments: str, status: int = 0) -> str:
            done = CliRunner().invoke(app, ["backbones", "recommend", *arguments, "--url", url], env={"COLUMNS": "200"})
            assert done.exit_code == status, done.output
            return done.output

        table = run(dataset)
        assert re.search(r"1 +local/a +90\.0% +82\.6% to 94\.5% +12 s +20 ms +0\.0 MB +0\.0 MB", table)
        assert re.search(r"local/b +It is gone\.", table)
        assert "local/a is expected to have accuracy 90.0%." in table
        named = run(dataset, "local/b", "--min-accuracy", "0.95", status=4)
        assert "No candidate is expected to have accuracy 95.0%" in named
        stdout = CliRunner().invoke(app, ["backbones", "recommend", dataset, "--json", "--url", url]).stdout
        assert json.loads(stdout)["recommended"] == "local/a"
        assert "There is no backbone local/c" in run(dataset, "local/c", status=1)
        with Client(url) as client:
            found = client.recommend_backbones(dataset, ["local/b"])
            assert (found.recommended, found.candidates[0].expected) == ("local/b", 0.9)
            assert next(client.recommendations(dataset=dataset)).id == found.id
            client.delete_recommendation(found.id)
            waiting = client.create_recommendation(dataset)
            client.wait_for_recommendation(waiting.id)
            with pytest.raises(GraftError, match="only a queued or running one"):
                client.cancel_recommendation(waiting.id)


def test_a_network_is_added_answered_for_shown_and_deleted(
    tmp_path: Path, settings: Settings, importing: list[dict[str, Any]]
) -> None:
    network, labels, samples = tmp_path / "net.onnx", tmp_path / "labels.txt", tmp_path / "samples"
    network.write_bytes(b"\x08\x07" + bytes(3 << 20))
    labels.write_text("cat\ndog\n")
    (samples / "cat").mkdir(parents=True)
    (samples / "cat" / "1.png").write_bytes(b"1")
    with serving(settings) as url:

        def run(*arguments: str, status: int = 0) -> str:
            done = CliRunner().invoke(app, ["backbones", *arguments, "--url", url])
            assert done.exit_code == status, done.output
            return done.output

        asked = run("add", str(network), "--architecture", "resnet18", status=4)
        assert "Say mean and std." in asked
        (backbone,) = set(re.findall(r"bb_\w{26}", asked))
        assert f"graft backbones preprocessing {backbone} mean=0.5,0.5,0.5" in asked
        given = ("preprocessing", backbone, "mean=0.5,0.5,0.5", "--labels", str(labels), "--samples", str(samples))
        answered = run(*given)
        assert "Say mean and std." not in answered
        assert f"graft train IMAGES --backbone {backbone}" in answered
        facts = {"architecture": "resnet18", "preprocessing": {"mean": [0.5, 0.5, 0.5]}, "labels": ["cat", "dog"]}
        assert importing == [{"architecture": "resnet18", "samples": False}, {**facts, "samples": True}]
        assert f"{backbone} (net.onnx)" in run("net")
        assert json.loads(run("list", "--source", "upload", "--json"))[0]["id"] == backbone
        assert "does not wait for its preprocessing" in run("preprocessing", backbone, "mean=0", status=1)
        assert "architecture graph, 7 parameters" in run("show", backbone)
        assert json.loads(run("show", backbone, "--json"))["status"] == "ready"
        assert backbone in run("delete", backbone)
        assert "There is no backbone" in run("show", backbone, status=1)
        assert "Name the file of a pretrained network" in run("add", str(tmp_path / "none"), status=1)
        assert run("list") == run()


def test_a_backbone_is_pretrained(settings: Settings) -> None:
    database, stopping = Database(settings.database), threading.Event()
    with database.writing() as session:
        session.add(Backbone(id="local/a", source="local", status="listed", architecture="a", attempt=0, crashes=0))
    dataset = add_dataset(database, images=100)
    asked: list[dict[str, Any]] = []

    def work() -> None:
        while not stopping.wait(0.05):
            with database.writing() as session:
                for row in session.query(Backbone).where(Backbone.status == "pretraining"):
                    assert row.pretraining is not None
                    asked.append({"from": row.pretrained_from, "name": row.display_name, **row.pretraining})
                    if row.pretraining["seed"] == 1:
                        pretraining.reject(session, row, "training_diverged", "Set method.lr to less.")
                        continue
                    imports.add_event(session, row, "info", "epoch", "Epoch 1: loss 2.0000", {})
                    summary = {"architecture": "resnet18", "parameters": 7, "input_size": [3, 32, 32]}
                    figures = {"images": 70, "losses": [2.0, 1.0]}
                    pretraining.accept(session, row, summary=summary, files={}, inspection={}, figures=figures)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        with serving(settings) as url:

            def run(*arguments: str) -> Result:
                return CliRunner().invoke(app, ["backbones", "pretrain", dataset, *arguments, "--url", url])

            done = run("local/a", "--method", "masked", "--set", "share=0.5", "--image-size", "64", "--name", "mine")
            assert done.exit_code == 0, done.output
            (backbone,) = set(re.findall(r"bb_\w{26}", done.output))
            assert f"pretrained from local/a on {dataset}: masked" in done.output
            assert "loss 2 in the first epoch, 1 in the last, on 70 images" in done.output
            assert f"graft train IMAGES --backbone {backbone}" in done.output
            (first,) = asked
            assert (first["from"], first["name"], first["image_size"]) == ("local/a", "mine", 64)
            assert (first["method"]["kind"], first["method"]["share"]) == ("masked", 0.5)
            failed = run("local/a", "--seed", "1")
            assert failed.exit_code == 4
            assert "Set method.lr to less." in failed.output
            assert "There is no 'dino'" in run("local/a", "--method", "dino").output
            with Client(url) as client:
                again = client.pretrain_backbone(dataset, "local/a", {"kind": "denoising", "noise": 1})
                assert client.wait_for_backbone(again.id).status == "ready"
                assert again.pretrained_on == dataset
    finally:
        stopping.set()
        thread.join()
        database.close()
