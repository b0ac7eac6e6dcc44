"""What goes wrong, one function for each fault; each leaves everything running again, or about to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import redis

from faults import processes
from faults.deployment import LEASE_SECONDS, ROOT
from faults.workload import TO_BE_CANCELLED, steadily
from graft.errors import GraftError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from faults.deployment import Deployment, Part
    from faults.workload import Workload

AWAY_SECONDS = (0.5, 3.0)
HANG_SECONDS = 10.0
"""No request takes longer, whatever the broker does."""
BLOCK = bytes(1 << 20)


@dataclass(frozen=True)
class Death:
    """When something died, and which jobs it ran."""

    time: float
    jobs: list[str]


@dataclass
class World:
    """What faults are injected into, and what is noted of it."""

    deployment: Deployment
    workload: Workload
    random: random.Random
    deaths: list[Death] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    """Requests that took too long."""

    def worker(self) -> Part:
        """Any of them."""
        return self.random.choice(self.deployment.workers)

    def mourn(self, worker: Part) -> None:
        """Note which jobs die with a worker, or its child."""
        running = self.workload.unfinished().items()
        jobs = [job for job, (status, by) in running if status == "running" and by and f".{worker.pid}." in by]
        self.deaths.append(Death(time.time(), jobs))

    def pause(self) -> None:
        """For as long as something is away."""
        time.sleep(self.random.uniform(*AWAY_SECONDS))


def kill_api(world: World) -> None:
    """SIGKILL to the API."""
    world.deployment.parts["api"].process.kill()


def kill_sweep(world: World) -> None:
    """SIGKILL to the sweep."""
    world.deployment.parts["sweep"].process.kill()


def kill_worker(world: World) -> None:
    """SIGKILL to a worker."""
    worker = world.worker()
    world.mourn(worker)
    worker.process.kill()


def kill_fork_server(world: World) -> None:
    """SIGKILL to a worker's fork server."""
    worker = world.worker()
    world.mourn(worker)
    processes.send(set(processes.fork_servers(worker.pid)), signal.SIGKILL)


def kill_child(world: World) -> None:
    """SIGKILL to what trains, as the kernel does when memory is short."""
    worker = world.worker()
    world.mourn(worker)
    processes.send(processes.children_of_fork_servers(worker.pid), signal.SIGKILL)


def crash_child(world: World) -> None:
    """SIGSEGV to what trains."""
    worker = world.worker()
    world.mourn(worker)
    processes.send(processes.children_of_fork_servers(worker.pid), signal.SIGSEGV)


def stop_worker_beyond_its_lease(world: World) -> None:
    """SIGSTOP to a worker until its lease is over, then SIGCONT: it comes back and finds its work taken."""
    worker = world.worker()
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE_SECONDS + 1.0)
    worker.process.send_signal(signal.SIGCONT)


def stop_child_a_while(world: World) -> None:
    """SIGSTOP to what trains, then SIGCONT."""
    children = processes.children_of_fork_servers(world.worker().pid)
    processes.send(children, signal.SIGSTOP)
    world.pause()
    processes.send(children, signal.SIGCONT)


def deploy_worker(world: World) -> None:
    """SIGTERM to a worker: it hands back what it does, and another version starts."""
    world.worker().process.terminate()


def flush_broker(world: World) -> None:
    """All messages are lost."""
    with redis.Redis.from_url(world.deployment.redis.url()) as broker:
        broker.flushall()


def restart_broker(world: World) -> None:
    """SIGKILL to Redis; it is away for a while, and comes back empty."""
    world.deployment.redis.end(signal.SIGKILL)
    _submit_in_time(world, "broker away")
    world.pause()
    world.deployment.redis.start()


def silence_broker(world: World) -> None:
    """Redis takes connections and answers nothing."""
    process = world.deployment.redis.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    _submit_in_time(world, "broker silent")
    world.pause()
    process.send_signal(signal.SIGCONT)


def double_messages(world: World) -> None:
    """Many wake-ups for nothing, and messages that are none."""
    # A process of its own: Celery keeps its connections open.
    wake = f"from service.wakeup import Queue; queue = Queue({world.deployment.redis.url()!r})"
    subprocess.run([sys.executable, "-c", f"{wake}\nfor _ in range(20): queue.wake()"], cwd=ROOT, check=True)
    with redis.Redis.from_url(world.deployment.redis.url()) as broker:
        broker.rpush("celery", "no message at all")


def restart_database(world: World) -> None:
    """PostgreSQL ends at once, without saying good-bye, and starts again."""
    world.deployment.postgresql.end(signal.SIGQUIT)
    world.deployment.postgresql.start()


def take_database_away(world: World) -> None:
    """PostgreSQL is away for longer than a lease."""
    world.deployment.postgresql.end(signal.SIGQUIT)
    time.sleep(LEASE_SECONDS + 1.0)
    world.deployment.postgresql.start()


def fill_disk(world: World) -> None:
    """No room is left where the parts keep their files."""
    if world.deployment.disk is None:
        return
    ballast = world.deployment.disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(BLOCK)
        except OSError:
            world.pause()
    ballast.unlink()


def pause_and_resume(world: World) -> None:
    """A job is paused, and resumed."""
    job = world.workload.submit()
    world.pause()
    _ask(lambda: world.workload.client.pause(job))
    world.pause()
    _ask(lambda: world.workload.client.resume(job))


def cancel(world: World) -> None:
    """A job is cancelled, at any moment of its life."""
    job = world.workload.submit(metadata=TO_BE_CANCELLED)
    world.pause()
    _ask(lambda: world.workload.client.cancel(job))


def cut_off_upload(world: World) -> None:
    """A connection ends in the middle of an upload; the archive is sent again."""
    archive = world.workload.archive.read_bytes()
    head = f"POST /v1/datasets?name=cut HTTP/1.1\r\nHost: graft\r\nContent-Length: {len(archive)}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", world.deployment.port), timeout=5) as connection:
            connection.sendall(head.encode() + archive[: len(archive) // 2])
    except OSError:
        return  # the API is about to start again
    steadily(lambda: world.workload.client.create_dataset(world.workload.archive, "again"))


def empty_cache_under_two(world: World) -> None:
    """The feature cache is emptied, and two jobs need the same of it at once."""
    steadily(world.workload.client.empty_cache)
    for _ in range(2):
        world.workload.submit("linear")


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
    flush_broker,
    restart_broker,
    silence_broker,
    double_messages,
    restart_database,
    take_database_away,
    fill_disk,
    pause_and_resume,
    cancel,
    cut_off_upload,
    empty_cache_under_two,
)


def _submit_in_time(world: World, what: str) -> None:
    """A job is taken while the broker is no help; asking for it does not hang."""
    began = time.monotonic()
    world.workload.submit()
    if time.monotonic() - began > HANG_SECONDS:
        world.hangs.append(what)


def _ask(requested_state: Callable[[], object]) -> None:
    """Ask for it; a job that has gone another way refuses."""
    try:
        steadily(requested_state)
    except GraftError as error:
        if error.status != 409:
            raise
