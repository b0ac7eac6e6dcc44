"""Child processes: all their events arrive, and every way to end has a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.child_work import Count, Order
from workers.child_process import BATCH_EVENTS, Child, ChildDied

MODULE = "tests.support.child_work"


def run_child(order: Order) -> list[Count]:
    """Run a child to its end; gives all its events."""
    with Child(MODULE, order) as child:
        return [Count.model_validate_json(line) for lines in child.read_batches() for line in lines]


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_events_arrive_in_order() -> None:
    events = run_child(Order(do="end", times=5000))
    assert [event.number for event in events] == list(range(5000))
    assert events[0].pid != os.getpid()


@pytest.mark.parametrize(
    ("do", "cause", "message"),
    [
        ("raise", "internal_error", "log"),
        ("abort", "killed_by_signal", "SIGABRT"),
        ("memory", "out_of_memory", "memory"),
        ("allocate", "out_of_memory", "memory"),
        ("gpu", "gpu_error", "GPU"),
        ("full", "disk_full", "full"),
    ],
)
def test_every_cause_of_death_has_a_name(do: str, cause: str, message: str) -> None:
    with pytest.raises(ChildDied, match=message) as caught:
        run_child(Order(do=do))
    assert caught.value.cause == cause


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux shows the parent of a process")
def test_a_killed_fork_server_is_no_fault_of_the_work_and_is_started_again() -> None:
    with Child(MODULE, Order(do="toil")) as child, pytest.raises(ChildDied, match="server") as caught:
        for lines in child.read_batches():
            for line in lines:
                stat = Path(f"/proc/{Count.model_validate_json(line).pid}/stat").read_text()
                os.kill(int(stat.rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
    assert (caught.value.cause, caught.value.is_own_fault) == ("killed_by_signal", False)
    assert len(run_child(Order(do="end", times=3))) == 3


MEMORY = 2 << 30


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux limits the memory of a process")
@pytest.mark.parametrize("do", ["fill memory", "start threads"])
def test_a_child_that_needs_too_much_memory_ends_with_a_name(do: str) -> None:
    named = pytest.raises(ChildDied, match=r"2\.0 GiB \(GRAFT_MEMORY_BYTES\)")
    with Child(MODULE, Order(do=do), memory_bytes=MEMORY) as child, named as caught:
        list(child.read_batches())
    assert caught.value.cause == "out_of_memory"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux shows the memory of a process")
def test_a_child_that_may_use_a_gpu_is_watched_by_its_supervisor() -> None:
    watched = Child(MODULE, Order(do="fill memory"), memory_bytes=MEMORY, may_use_gpu=True)
    with watched as child, pytest.raises(ChildDied, match="GRAFT_MEMORY_BYTES") as caught:
        list(child.read_batches())
    assert caught.value.cause == "out_of_memory"


def test_a_batch_is_bounded_however_fast_events_come() -> None:
    with Child(MODULE, Order(do="end", times=20_000)) as child:
        time.sleep(1.0)  # it waits until somebody reads
        batches = [len(lines) for lines in child.read_batches()]
    assert sum(batches) == 20_000
    assert max(batches) <= BATCH_EVENTS


def test_a_child_that_hangs_is_stalled_and_a_slow_one_with_heartbeats_is_not() -> None:
    with pytest.raises(ChildDied, match="no progress") as caught, Child(MODULE, Order(do="sleep"), 1.5) as child:
        list(child.read_batches())
    assert caught.value.cause == "stalled"
    with Child(MODULE, Order(do="toil"), 1.5) as child:
        assert sum(len(lines) for lines in child.read_batches()) == 1, "heartbeats are no events"


def test_a_drained_child_sends_its_last_event_and_exits() -> None:
    with Child(MODULE, Order(do="drain")) as child:
        numbers = []
        for lines in child.read_batches():
            numbers += [Count.model_validate_json(line).number for line in lines]
            child.drain()
    assert numbers == [0, 1]


def test_signals_to_a_child_that_has_ended_are_ignored(tmp_path: Path) -> None:
    with Child(MODULE, Order(do="end")) as child:
        (pid,) = [Count.model_validate_json(line).pid for lines in child.read_batches() for line in lines]
        until = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.01)
        child.drain()
        child.stop()


def test_a_killed_child_is_noticed() -> None:
    with Child(MODULE, Order(do="sleep")) as child, pytest.raises(ChildDied, match="SIGKILL"):
        for lines in child.read_batches():
            for line in lines:
                os.kill(Count.model_validate_json(line).pid, signal.SIGKILL)


def test_leaving_the_block_kills_the_child() -> None:
    with Child(MODULE, Order(do="sleep")) as child:
        pid = next(Count.model_validate_json(line).pid for lines in child.read_batches() for line in lines)
        assert is_alive(pid)
    assert not is_alive(pid)


PARENT = """
import sys
from tests.support.child_work import Count, Order
from workers.child_process import Child
with Child("tests.support.child_work", Order(do="sleep")) as child:
    for lines in child.read_batches():
        for line in lines:
            print(Count.model_validate_json(line).pid, flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends children of dead parents on Linux")
def test_a_child_dies_with_its_supervisor() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
        parent.wait()
    until = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_alive(pid)


KILLING = """
from tests.support.child_work import Order
from workers.child_process import Child
with Child("tests.support.child_work", Order(do="progress bar")) as child:
    assert any(child.read_batches())
"""


def test_a_killed_child_leaks_no_semaphore() -> None:
    killing = subprocess.run(
        [sys.executable, "-c", KILLING], stderr=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert killing.stderr == "", "Python's resource tracker reports leaks when all other processes have ended"


def test_the_worker_itself_loads_no_torch() -> None:
    run = "import sys, workers.worker; sys.exit(bool({'torch', 'timm', 'PIL', 'numpy', 'celery'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", run], check=True, cwd=Path(__file__).parents[2])


ORDERS = ("models.pipeline.spec", "workers.work.validation", "workers.work.inspection")
"""Modules with the classes of the orders that children receive."""


def test_the_fork_server_has_what_an_order_needs() -> None:
    run = (
        "import importlib, sys; from workers.child_process import PRELOADED; "
        "[importlib.import_module(name) for name in PRELOADED]; "
        f"sys.exit(not set({ORDERS}) <= sys.modules.keys())"
    )
    subprocess.run([sys.executable, "-c", run], check=True, cwd=Path(__file__).parents[2])
