"""Migrations build the tables of the code, and carry stored rows over, on both databases."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select, text

import migrations
from models.runtime import checkpoint_file
from service.checkpoints import blobs
from service.database import Database
from service.jobs import repository
from service.tables import Candidate, Checkpoint, CheckpointTensor, Event, Job, Snapshot, Table, Trunk
from tests.support.jobs import add_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session


def test_the_migrations_build_exactly_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_a_generated_migration_can_spell_a_status() -> None:
    assert "'queued', 'running'" in repr(Job.__table__.c.status.type)


def test_down_to_nothing_and_up_again(database: Database) -> None:
    migrations.downgrade(database.url, "base")
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrations.upgrade(database.url)
    assert set(Table.metadata.tables) <= set(inspect(database.engine).get_table_names())


def test_jobs_whose_snapshot_an_upgrade_drops_are_told(database: Database) -> None:
    add_jobs(database, 2)
    migrations.downgrade(database.url, "0005")
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET event_seq = 4"))
        for statement in (
            "INSERT INTO snapshots (job_id, epoch, header, bytes, digest) VALUES ('job_001', 1, 'x', 1, 'x')",
            "INSERT INTO tensors (digest, bytes) VALUES ('t', 4)",
            "INSERT INTO snapshot_tensors (job_id, position, digest) VALUES ('job_001', 0, 't')",
        ):
            session.connection().exec_driver_sql(statement)
    migrations.upgrade(database.url)
    with database.reading() as session:
        told = session.scalars(select(Event)).all()
        assert [(event.job_id, event.seq, event.kind, event.data) for event in told] == [
            ("job_001", 5, "snapshot_dropped", {})
        ]
        assert session.scalars(select(Job.event_seq).order_by(Job.id)).all() == [4, 5]
        assert session.scalars(select(Snapshot)).all() == []


def test_candidates_of_earlier_releases_have_the_backbone_of_their_job(database: Database) -> None:
    add_jobs(database, 1, backbone="local/own")
    migrations.downgrade(database.url, "0022")
    with database.writing() as session:
        columns = "job_id, number, name, recipe, is_better, seconds"
        session.connection().exec_driver_sql(
            f"INSERT INTO candidates ({columns}) VALUES ('job_000', 1, 'probe', '{{}}', true, 1.0)"
        )
    migrations.upgrade(database.url)
    with database.reading() as session:
        assert session.scalars(select(Candidate.backbone)).all() == ["local/own"]


def test_many_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: migrations.upgrade(url), range(4)))
    database = Database(url)
    assert set(Table.metadata.tables) <= set(inspect(database.engine).get_table_names())
    database.close()


def test_many_processes_may_create_one_file_at_once(tmp_path: Path) -> None:
    together = Barrier(6)

    def make(url: str) -> None:
        together.wait()
        database = Database(url)
        with database.reading() as session:
            session.execute(text("SELECT 1"))
        database.close()

    for turn in range(20):
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(make, [f"sqlite:///{tmp_path / f'{turn}.sqlite'}"] * 6))


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    database = Database(url)
    with database.writing() as session:
        session.execute(text("CREATE TABLE jobs (id TEXT)"))
    with pytest.raises(Exception, match="already exists"):
        migrations.upgrade(url)
    assert inspect(database.engine).get_table_names() == ["jobs"]
    with database.writing() as session:
        session.execute(text("DROP TABLE jobs"))
    migrations.upgrade(url)
    database.close()


def test_pages_are_small_on_sqlite_and_chunks_uncompressed_on_postgresql(database: Database) -> None:
    with database.reading() as session:
        if database.engine.dialect.name == "sqlite":
            assert session.scalar(text("PRAGMA page_size")) == 4096
            assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        else:
            storage = text("SELECT attstorage FROM pg_attribute WHERE attrelid='chunks'::regclass AND attname='data'")
            assert session.scalar(storage) in {"e", b"e"}


def rows_of(database: Database, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query on tables that the code may not know any more; JSON is parsed."""
    with database.reading() as session:
        found = session.execute(text(query)).all()
    return [
        tuple(json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value for value in row)
        for row in found
    ]


def add_old_rows(
    session: Session, recipes: dict[str, dict[str, Any]], events: dict[str, list[tuple[str, dict[str, Any]]]]
) -> None:
    """Add jobs and their events to the schema of revision 0005."""
    session.execute(
        text(
            "INSERT INTO datasets (id, name, classes, images, status, attempt, crashes) "
            "VALUES ('ds_1', '', '[]', 0, 'ready', 1, 0)"
        )
    )
    session.execute(
        text(
            "INSERT INTO jobs (id, dataset_id, backbone, recipe, metadata, progress, seconds, priority, "
            "is_stopping, event_seq, status, attempt, crashes) "
            "VALUES (:id, 'ds_1', 'b', :recipe, '{}', '{}', '{}', 0, FALSE, 0, 'queued', 0, 0)"
        ),
        [{"id": job, "recipe": json.dumps(recipe)} for job, recipe in recipes.items()],
    )
    session.execute(
        text(
            "INSERT INTO events (job_id, seq, level, kind, message, data) "
            "VALUES (:job, :seq, 'info', :kind, 'as it was', :data)"
        ),
        [
            {"job": job, "seq": seq, "kind": kind, "data": json.dumps(data)}
            for job, log in events.items()
            for seq, (kind, data) in enumerate(log, 1)
        ],
    )


KINDS = "SELECT kind, data FROM events ORDER BY seq"
RECIPES = "SELECT recipe FROM jobs ORDER BY id"
TRIAL = {
    "lr": 0.1,
    "l2": 0.0,
    "dropout": 0.5,
    "epoch": 2,
    "epochs": 4,
    "validation_loss": None,
    "validation_accuracy": 0.75,
}


def test_0006_renames_events_and_recipes_and_moves_trials_and_crashes(database: Database) -> None:
    old_events: list[tuple[str, dict[str, Any]]] = [
        ("batch_halved", {"parts": 2}),
        ("first_head", {}),
        ("views_left_out", {}),
        ("taken_up", {"epoch": 3}),
        ("not_secured", {}),
        ("handed_back", {}),
        ("pretraining", {"pictures": 7}),
        ("searched", {"trials": [{**TRIAL, "lr": 0.2}]}),
        ("crashed", {"cause": "out_of_memory", "attempt": 1}),
        ("searched", {"trials": [TRIAL, {**TRIAL, "lr": 0.3}]}),
        ("crashed", {"cause": "worker_died", "attempt": 2, "worker": "w"}),
        ("epoch", {"epoch": 1}),
    ]
    old_recipes: list[dict[str, Any]] = [
        {"head": {"kind": "linear", "start": "discriminant"}, "seed": 1},
        {"head": {"kind": "mlp"}},
    ]
    migrations.downgrade(database.url, "0005")
    with database.writing() as session:
        add_old_rows(
            session, {f"job_{number}": recipe for number, recipe in enumerate(old_recipes)}, {"job_0": old_events}
        )
    migrations.upgrade(database.url)
    new_events = [
        ("micro_batches", {"parts": 2}),
        ("lda_initialized", {}),
        ("views_limited", {}),
        ("resumed_from_snapshot", {"epoch": 3}),
        ("snapshot_failed", {}),
        ("drained", {}),
        ("pretraining", {"images": 7}),
        ("searched", {}),
        ("crashed", {"cause": "out_of_memory", "attempt": 1}),
        ("searched", {}),
        *old_events[-2:],
    ]
    assert rows_of(database, KINDS) == new_events
    assert rows_of(database, RECIPES) == [({"head": {"kind": "linear", "start": "lda"}, "seed": 1},), (old_recipes[1],)]
    crashes = rows_of(database, "SELECT job_id, attempt, cause FROM crashes ORDER BY attempt")
    assert crashes == [("job_0", 1, "out_of_memory"), ("job_0", 2, "worker_died")]
    with database.reading() as session:
        trials = repository.find_trials(session, "job_0", after=-1, limit=10)
        assert [(trial.rank, trial.lr, trial.validation_loss) for trial in trials] == [(0, 0.1, None), (1, 0.3, None)]
    migrations.downgrade(database.url, "0005")
    newest = {"trials": [TRIAL, {**TRIAL, "lr": 0.3}]}
    assert rows_of(database, KINDS) == [(kind, newest if kind == "searched" else data) for kind, data in old_events]
    assert rows_of(database, RECIPES) == [(recipe,) for recipe in old_recipes]


def test_0006_renames_more_rows_than_a_batch(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    migrations.downgrade(sqlite_url, "0005")
    count = 1203
    with database.writing() as session:
        jobs = [f"job_{number:04}" for number in range(count)]
        crashed = [("crashed", {"cause": "c", "attempt": attempt}) for attempt in (1, 2)]
        recipe: dict[str, Any] = {"head": {"start": "discriminant"}}
        add_old_rows(session, dict.fromkeys(jobs, recipe), dict.fromkeys(jobs, crashed))
    migrations.upgrade(sqlite_url)
    assert rows_of(database, RECIPES) == [({"head": {"start": "lda"}},)] * count
    assert rows_of(database, "SELECT COUNT(*) FROM crashes") == [(2 * count,)]
    database.close()


BEFORE_0015 = "0014"


def write_old_checkpoint(database: Database, file: Path, checkpoint_id: str) -> bytes:
    """Add a checkpoint of a file to the schema before 0015: its whole header, and a row for each tensor."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    places = [entry["data_offsets"] for name, entry in json.loads(content[8:start]).items() if name != "__metadata__"]
    with database.writing() as session:
        session.execute(
            text(
                "INSERT INTO checkpoints (id, job_id, kind, epoch, metrics, classes, header, bytes, digest) VALUES "
                "(:id, 'job_000', 'best', 1, :metrics, '[]', :header, :bytes, :digest)"
            ),
            {
                "id": checkpoint_id,
                "metrics": json.dumps({"test": {"accuracy": 0.5}}),
                "header": content[:start],
                "bytes": len(content),
                "digest": hashlib.sha256(content).hexdigest(),
            },
        )
        for position, (begin, end) in enumerate(sorted(places)):
            data = content[start + begin : start + end]
            row = {"digest": hashlib.sha256(data).hexdigest(), "bytes": len(data), "data": data}
            for statement in (
                "INSERT INTO tensors (digest, bytes, touched_at) VALUES (:digest, :bytes, 0) ON CONFLICT DO NOTHING",
                "INSERT INTO chunks (digest, seq, data) VALUES (:digest, 0, :data) ON CONFLICT DO NOTHING",
                "INSERT INTO checkpoint_tensors (checkpoint_id, position, digest) VALUES (:id, :position, :digest)",
            ):
                session.execute(text(statement), {**row, "id": checkpoint_id, "position": position})
    return content


def test_0015_stores_the_trunk_of_fine_tunes_once_and_no_byte_of_a_file_changes(
    database: Database, tmp_path: Path
) -> None:
    add_jobs(database, 1)
    trunk = {"conv.weight": torch.randn(40, 3), "bn.num_batches_tracked": torch.tensor(3)}
    metadata = {"pretrained_cfg": json.dumps({"classifier": "fc"}), "python": "import torch", "graph": "{}"}
    migrations.downgrade(database.url, BEFORE_0015)
    files = {}
    for number in range(3):
        head = {"fc.weight": torch.full((2, 3), float(number)), "fc.bias": torch.zeros(2)}
        checkpoint_file.write(tmp_path / "a", {**trunk, **head}, {**metadata, "number": str(number)})
        files[f"ckpt_{number}"] = write_old_checkpoint(database, tmp_path / "a", f"ckpt_{number}")
    old = rows_of(database, "SELECT checkpoint_id, position, digest FROM checkpoint_tensors ORDER BY 1, 2")
    headers = rows_of(database, "SELECT id, header, metrics FROM checkpoints ORDER BY id")
    migrations.upgrade(database.url)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Trunk)) == 1
        assert session.scalar(select(func.count()).select_from(CheckpointTensor)) == 6
        for checkpoint in session.scalars(select(Checkpoint)):
            assert checkpoint.metrics == {"test": {"accuracy": 0.5}}
            assert b"".join(blobs.read(database, checkpoint, 0, checkpoint.bytes)) == files[checkpoint.id]
            own = b"".join(blobs.read_head(database, checkpoint, 0, checkpoint.head_bytes))
            assert hashlib.sha256(own).hexdigest() == checkpoint.head_digest
    assert blobs.collect(database, 0) == 0
    migrations.downgrade(database.url, BEFORE_0015)
    assert rows_of(database, "SELECT checkpoint_id, position, digest FROM checkpoint_tensors ORDER BY 1, 2") == old
    assert rows_of(database, "SELECT id, header, metrics FROM checkpoints ORDER BY id") == headers
