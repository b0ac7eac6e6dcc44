"""Kill processes of a running service: jobs resume by themselves, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from faults.processes import find_children_of_fork_servers, find_descendants, send_signal
from faults.workload import digest_checkpoint
from graft.client import Client
from service.wakeup import WAKE, Queue
from tests.support import databases, deployments
from tests.support.running_jobs import LONG, start_training

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.extended

RECIPE = {"epochs": 12}
MLP = {"kind": "mlp", "hidden": [32], "dropout": 0.3, "normalization": "batch_norm"}
KINDS: list[dict[str, Any]] = [
    LONG,
    {**LONG, "epochs": 200, "head": MLP, "optimizer": "nadam", "augmentations": ["mixup"]},
    {**LONG, "epochs": 200, "averaging": {"decay": 0.99}, "schedule": "cosine", "regularizers": ["max_norm"]},
    {**LONG, "epochs": 20, "cut": "top", "gradient_clipping": "by_norm"},
    {**LONG, "epochs": 20, "cache": "off"},
]
KILLS = 50


def find_child(commands: dict[int, str], part: str) -> int:
    """Find the process whose command line has this in it."""
    return next(pid for pid, command in commands.items() if part in command)


@pytest.fixture
def up(tmp_path: Path, backbones: Path) -> Iterator[tuple[int, Client]]:
    """Start `graft up` for this test alone: its process and a client."""
    env = deployments.environment(tmp_path, backbones, GRAFT_SNAPSHOT_SECONDS="0.2")
    with deployments.process(env, "up") as process, Client(deployments.ready(env)) as client:
        yield process.pid, client


@pytest.fixture
def own_dataset(up: tuple[int, Client], archive: Path) -> str:
    """Create a dataset of that service."""
    client = up[1]
    return str(client.wait_for_dataset(client.create_dataset(archive)["id"])["id"])


@pytest.mark.parametrize(
    "victim",
    [
        "-m workers ",
        *(
            pytest.param(other, marks=pytest.mark.slow)  # on PostgreSQL, tests/faults kills them all
            for other in ("multiprocessing.forkserver", "service.app", "workers.maintenance")
        ),
    ],
)
def test_a_job_ends_the_same_whichever_process_is_killed(
    up: tuple[int, Client], own_dataset: str, victim: str, tmp_path: Path
) -> None:
    pid, client = up
    expected = client.wait(client.create_job(own_dataset, "local/small", LONG)["id"])
    job = start_training(client, own_dataset, LONG)
    time.sleep(0.5)
    os.kill(find_child(find_descendants(pid), victim), signal.SIGKILL)
    ended = client.wait(job)
    assert ended["status"] == "succeeded", ended["error"]
    assert ended["metrics"] == expected["metrics"]
    events = list(client.events(job))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["kind"] for event in events]
    assert kinds.count("succeeded") == 1
    assert ("resumed_from_snapshot" in kinds) == (ended["attempt"] > 1)
    assert [row["epoch"] for row in client.metrics(job)] == list(range(1, 301))
    assert digest_checkpoint(client, job, tmp_path) == digest_checkpoint(client, expected["id"], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_job_killed_at_random_moments_ends_with_the_same_bytes(
    up: tuple[int, Client], own_dataset: str, tmp_path: Path
) -> None:
    pid, client = up
    draw = random.Random(5)
    expected: dict[int, tuple[str, float]] = {}
    for kind, recipe in enumerate(KINDS):
        began = time.monotonic()
        job = client.wait(client.create_job(own_dataset, "local/small", recipe)["id"])["id"]
        expected[kind] = digest_checkpoint(client, job, tmp_path), time.monotonic() - began
    kills = resumed = 0
    while kills < KILLS:
        kind = kills % len(KINDS)
        digest, seconds = expected[kind]
        job = client.create_job(own_dataset, "local/small", KINDS[kind])["id"]
        time.sleep(draw.uniform(0, seconds))
        kills += send_signal(find_children_of_fork_servers(pid), signal.SIGKILL)
        ended = client.wait(job)
        assert ended["status"] == "succeeded", ended["error"]
        assert digest_checkpoint(client, job, tmp_path) == digest, (kind, kills)
        resumed += any(event["kind"] == "resumed_from_snapshot" for event in client.events(job))
    assert resumed > KILLS / 5, "many were killed while they trained"


@pytest.mark.slow
def test_a_paused_job_resumes_where_it_was(up: tuple[int, Client], own_dataset: str, tmp_path: Path) -> None:
    _, client = up
    recipe = KINDS[1]
    expected = client.wait(client.create_job(own_dataset, "local/small", recipe)["id"])["id"]
    job = start_training(client, own_dataset, recipe)
    client.pause(job)
    began = time.monotonic()
    while client.job(job)["status"] == "pausing":
        time.sleep(0.02)
    assert time.monotonic() - began < 10
    assert client.job(job)["status"] == "paused"
    done = len(client.metrics(job))
    assert done
    client.resume(job)
    assert client.wait(job)["status"] == "succeeded"
    (resumed,) = (event for event in client.events(job) if event["kind"] == "resumed_from_snapshot")
    assert resumed["data"]["epoch"] == done, "nothing is done again"
    assert digest_checkpoint(client, job, tmp_path) == digest_checkpoint(client, expected, tmp_path)


def test_a_job_that_kills_its_worker_every_time_fails_in_the_end(up: tuple[int, Client], own_dataset: str) -> None:
    pid, client = up
    job = start_training(client, own_dataset, {"epochs": 100_000, "early_stopping": None})
    end = time.monotonic() + 120
    while (found := client.job(job))["status"] not in ("failed", "succeeded") and time.monotonic() < end:
        send_signal(find_children_of_fork_servers(pid), signal.SIGKILL)
        time.sleep(0.05)
    assert found["status"] == "failed"
    assert found["error"]["code"] == "killed_by_signal"
    assert "3 times" in found["error"]["message"]
    assert client.wait(client.create_job(own_dataset, "local/small", RECIPE)["id"])["status"] == "succeeded"


@pytest.mark.parametrize(
    ("signum", "has_broker"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGKILL, False), (signal.SIGTERM, True)],
)
def test_stopping_leaves_no_process_and_loses_no_job(
    tmp_path: Path, backbones: Path, archive: Path, redis_url: str, signum: signal.Signals, has_broker: bool
) -> None:
    env = deployments.environment(tmp_path, backbones, GRAFT_BROKER_URL=redis_url if has_broker else "")
    with deployments.process(env, "up") as process, Client(deployments.ready(env)) as client:
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
        job = start_training(client, dataset, LONG)
        below = find_descendants(process.pid)
        assert any("-m workers " in command for command in below.values())
        began = time.monotonic()
        process.send_signal(signum)
        status = process.wait(15)
        assert time.monotonic() - began < 10
        assert status == (0 if signum != signal.SIGKILL else -9)
        end = time.monotonic() + 15
        while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [command for pid, command in below.items() if Path(f"/proc/{pid}").exists()]
    with deployments.process(env, "up"), Client(deployments.ready(env)) as client:
        ended = client.wait(job)
        assert ended["status"] == "succeeded"
        crashes = [event for event in client.events(job) if event["kind"] == "crashed"]
        assert crashes == [], "a service that is stopped is no fault of the job"


def test_lost_or_repeated_messages_harm_nothing(
    tmp_path: Path, backbones: Path, archive: Path, postgresql_server: str, redis_url: str
) -> None:
    database_url = databases.create(postgresql_server)
    with deployments.production(tmp_path, backbones, database_url, redis_url) as address, Client(address) as client:
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
        queue = Queue(redis_url)
        jobs = [client.create_job(dataset, "local/small", RECIPE)["id"] for _ in range(4)]
        for _ in range(50):
            queue.wake()
        with redis.Redis.from_url(redis_url) as broker:
            broker.rpush("celery", "no message at all")
            broker.flushall()
        for job in jobs:
            ended = client.wait(job)
            assert (ended["status"], ended["attempt"]) == ("succeeded", 1)
        assert WAKE == "graft.wake", "rows and messages of older versions name it"


def test_workers_survive_a_malformed_message(tmp_path: Path, backbones: Path, archive: Path, redis_url: str) -> None:
    database_url = f"sqlite:///{tmp_path / 'graft.sqlite'}"
    never = {"GRAFT_POLL_SECONDS": "1000"}
    with (
        deployments.production(tmp_path, backbones, database_url, redis_url, **never) as address,
        Client(address) as client,
        redis.Redis.from_url(redis_url) as broker,
    ):
        for number in range(3):
            broker.rpush("celery", "no message at all")
            end = time.monotonic() + 60
            while broker.llen("celery"):
                assert time.monotonic() < end, "the worker reads no more"
                time.sleep(0.05)
            dataset = client.create_dataset(archive, str(number))["id"]
            assert client.wait_for_dataset(dataset)["status"] == "ready"
