"""The faults, one function each; each leaves everything running again, or about to restart."""

from __future__ import annotations

import fcntl
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import redis

from faults import processes
from faults.deployment import LEASE_SECONDS, ROOT, STALL_SECONDS
from faults.workload import TO_BE_CANCELLED, retry
from graft.errors import GraftError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from faults.deployment import Deployment, Part
    from faults.workload import Workload

AWAY_SECONDS = (0.5, 3.0)
"""How long something is away."""
HANG_SECONDS = 10.0
"""Longest time that a request may take while the broker is away or hangs."""
BLOCK = bytes(1 << 20)
MALFORMED = ("no message at all", "{}", "[1, 2]", '{"body": "?", "headers": {}, "properties": {}}')
REFUSED_TABLES = ("events", "datasets")
REFUSAL = """
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'this cannot be committed now' USING ERRCODE = 'serialization_failure'; END $$
"""


@dataclass(frozen=True)
class Death:
    """The death of a worker or its child, and the jobs that it ran."""

    time: float
    jobs: list[str]


@dataclass
class World:
    """The deployment and its workload, and a record of deaths and hangs."""

    deployment: Deployment
    workload: Workload
    random: random.Random
    deaths: list[Death] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    """State of the broker during requests that took too long."""

    def pick_worker(self) -> Part:
        """Pick a random worker."""
        return self.random.choice(self.deployment.workers)

    def record_death(self, worker: Part) -> None:
        """Record the jobs that die with a worker, or its child."""
        running = self.workload.list_unfinished().items()
        jobs = [job for job, (status, by) in running if status == "running" and by and f".{worker.pid}." in by]
        self.deaths.append(Death(time.time(), jobs))

    def wait(self) -> None:
        """Wait for as long as something is away."""
        time.sleep(self.random.uniform(*AWAY_SECONDS))


def kill_api(world: World) -> None:
    """SIGKILL to the API."""
    world.deployment.parts["api"].process.kill()


def kill_sweep(world: World) -> None:
    """SIGKILL to the sweep."""
    world.deployment.parts["sweep"].process.kill()


def kill_worker(world: World) -> None:
    """SIGKILL to a worker."""
    worker = world.pick_worker()
    world.record_death(worker)
    worker.process.kill()


def kill_fork_server(world: World) -> None:
    """SIGKILL to a worker's fork server."""
    worker = world.pick_worker()
    world.record_death(worker)
    processes.send_signal(set(processes.find_fork_servers(worker.pid)), signal.SIGKILL)


def kill_child(world: World) -> None:
    """SIGKILL to the children that train, as the kernel does when memory is short."""
    worker = world.pick_worker()
    world.record_death(worker)
    processes.send_signal(processes.find_children_of_fork_servers(worker.pid), signal.SIGKILL)


def crash_child(world: World) -> None:
    """SIGSEGV to the children that train."""
    worker = world.pick_worker()
    world.record_death(worker)
    processes.send_signal(processes.find_children_of_fork_servers(worker.pid), signal.SIGSEGV)


def stop_worker_beyond_its_lease(world: World) -> None:
    """SIGSTOP to a worker until its lease has expired, then SIGCONT: another worker has claimed its work."""
    worker = world.pick_worker()
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE_SECONDS + 1.0)
    worker.process.send_signal(signal.SIGCONT)


def stop_child_a_while(world: World) -> None:
    """SIGSTOP to the children that train, then SIGCONT."""
    children = processes.find_children_of_fork_servers(world.pick_worker().pid)
    processes.send_signal(children, signal.SIGSTOP)
    world.wait()
    processes.send_signal(children, signal.SIGCONT)


def deploy_worker(world: World) -> None:
    """SIGTERM to a worker, as a deploy does: it requeues its work, and is started again."""
    world.pick_worker().process.terminate()


def deploy_worker_with_two_signals(world: World) -> None:
    """SIGTERM to a worker twice in a row, as GNU timeout and systemd send it."""
    process = world.pick_worker().process
    for _ in range(2):
        process.terminate()


def flush_broker(world: World) -> None:
    """All messages are lost."""
    with redis.Redis.from_url(world.deployment.redis.url()) as broker:
        broker.flushall()


def restart_broker(world: World) -> None:
    """SIGKILL to Redis, which is away for a while and comes back empty."""
    world.deployment.redis.end(signal.SIGKILL)
    _submit_in_time(world, "broker away")
    world.wait()
    world.deployment.redis.start()


def silence_broker(world: World) -> None:
    """Redis accepts connections and answers nothing."""
    process = world.deployment.redis.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    _submit_in_time(world, "broker hangs")
    world.wait()
    process.send_signal(signal.SIGCONT)


def double_messages(world: World) -> None:
    """Needless wake-up messages."""
    # A process of its own: Celery keeps its connections open.
    wake = f"from service.wakeup import Queue; queue = Queue({world.deployment.redis.url()!r})"
    subprocess.run([sys.executable, "-c", f"{wake}\nfor _ in range(20): queue.wake()"], cwd=ROOT, check=True)


def send_malformed_messages(world: World) -> None:
    """Messages that are no JSON, or no messages of Celery's."""
    with redis.Redis.from_url(world.deployment.redis.url()) as broker:
        broker.rpush("celery", *MALFORMED)


def fail_commits(world: World) -> None:
    """PostgreSQL refuses for a while to commit what adds events or changes datasets."""
    with world.deployment.database.engine.begin() as connection:
        connection.exec_driver_sql(REFUSAL)
        for table in REFUSED_TABLES:
            connection.exec_driver_sql(
                f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON {table} "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_commit()"
            )
    world.wait()
    with world.deployment.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION refuse_commit CASCADE")


def restart_database(world: World) -> None:
    """PostgreSQL shuts down immediately and starts again."""
    world.deployment.postgresql.end(signal.SIGQUIT)
    world.deployment.postgresql.start()


def take_database_away(world: World) -> None:
    """PostgreSQL is away for longer than a lease."""
    world.deployment.postgresql.end(signal.SIGQUIT)
    time.sleep(LEASE_SECONDS + 1.0)
    world.deployment.postgresql.start()


def fill_disk(world: World) -> None:
    """The disk of the parts is filled to the last byte for a while."""
    if world.deployment.disk is None:
        return
    ballast = world.deployment.disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(BLOCK)
        except OSError:
            world.wait()
    ballast.unlink()


def take_storage_away(world: World) -> None:
    """The storage is away for a while, as a network file system may be: a file stands where its folder was."""
    world.deployment.take_storage_away()
    world.wait()
    world.deployment.bring_storage_back()


def pause_and_resume(world: World) -> None:
    """A job is paused, and resumed."""
    job = world.workload.submit()
    world.wait()
    _request(lambda: world.workload.client.pause(job))
    world.wait()
    _request(lambda: world.workload.client.resume(job))


def cancel(world: World) -> None:
    """A job is cancelled at a random moment."""
    job = world.workload.submit(metadata=TO_BE_CANCELLED)
    world.wait()
    _request(lambda: world.workload.client.cancel(job))


def cut_off_upload(world: World) -> None:
    """A connection ends in the middle of an upload; the archive is sent again."""
    archive = world.workload.archive.read_bytes()
    head = f"POST /v1/datasets?name=cut HTTP/1.1\r\nHost: graft\r\nContent-Length: {len(archive)}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", world.deployment.port), timeout=5) as connection:
            connection.sendall(head.encode() + archive[: len(archive) // 2])
    except OSError:
        return  # the API is restarting
    retry(lambda: world.workload.client.create_dataset(world.workload.archive, "again"))


def empty_cache_under_two(world: World) -> None:
    """The feature cache is emptied while two jobs need the same rows."""
    retry(world.workload.client.empty_cache)
    for _ in range(2):
        world.workload.submit("linear")


def hold_features(world: World) -> None:
    """Another process computes the features that jobs need, for longer than GRAFT_STALL_SECONDS: they wait."""
    retry(world.workload.client.empty_cache)
    with ExitStack() as stack:
        for file in (world.deployment.data / "cache").glob("*/lock"):
            fcntl.flock(stack.enter_context(file.open("a")), fcntl.LOCK_EX)
        world.workload.submit("linear")
        time.sleep(STALL_SECONDS + 5.0)


FAULTS: tuple[Callable[[World], None], ...] = (
    kill_api,
    kill_sweep,
    kill_worker,
    kill_fork_server,
    kill_child,
    crash_child,
    stop_worker_beyond_its_lease,
    stop_child_a_while,
    deploy_worker,
    deploy_worker_with_two_signals,
    flush_broker,
    restart_broker,
    silence_broker,
    double_messages,
    send_malformed_messages,
    fail_commits,
    restart_database,
    take_database_away,
    fill_disk,
    take_storage_away,
    pause_and_resume,
    cancel,
    cut_off_upload,
    empty_cache_under_two,
    hold_features,
)


def _submit_in_time(world: World, what: str) -> None:
    """Create a job while the broker is away, which must not hang."""
    began = time.monotonic()
    world.workload.submit()
    if time.monotonic() - began > HANG_SECONDS:
        world.hangs.append(what)


def _request(transition: Callable[[], object]) -> None:
    """Request a transition; a job that is in another state by now may refuse."""
    try:
        retry(transition)
    except GraftError as error:
        if error.status != 409:
            raise
