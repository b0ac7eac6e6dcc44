"""The command line: views of the page, and its help."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from graft.cli import app, choose_view

ULID = "01JZ3V5N7W8XKQ2M4T6Y9B0CDE"


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("", ""),
        (f"job_{ULID}", f"jobs/job_{ULID}"),
        (f"ds_{ULID}", f"data/ds_{ULID}"),
        ("ckpt_1", "try?model=ckpt_1"),
        (f"pred_{ULID}", f"predictions/pred_{ULID}"),
        (f"bb_{ULID}", f"backbones/bb_{ULID}"),
        ("timm/resnet18.a1_in1k", "backbones/timm/resnet18.a1_in1k"),
        ("flowers", "models/flowers"),
        ("my_flowers", "models/my_flowers"),
        ("job_cats", "models/job_cats"),
        ("ds_2026", "models/ds_2026"),
    ],
)
def test_a_view_of_the_page_is_chosen_by_the_id(name: str, view: str) -> None:
    assert choose_view(name) == view


def test_the_exit_codes_are_in_the_help() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "3 the service does not answer" in shown
    assert CliRunner().invoke(app, ["jbos"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["jbos"], "No such command 'jbos'. Did you mean 'jobs'? `graft --help` says what there is."),
        (["train"], "Missing argument 'images'. `graft train --help` says what there is."),
        (
            ["logs", "job_1", "--lvel", "x"],
            "--lvel (Possible options: --help, --level). `graft logs --help` says what there is.",
        ),
        (["keys", "create"], "Missing argument 'name'. `graft keys create --help` says what there is."),
    ],
)
def test_a_command_that_is_written_wrongly_is_told_in_one_line(arguments: list[str], says: str) -> None:
    ended = CliRunner().invoke(app, arguments, prog_name="graft")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.endswith(f"{says}\n")
    assert ended.stderr.count("\n") == 1
