"""Predictors of a running service: killed, what they had fails by name; of several, each takes its share."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import httpx
import pytest

from faults.processes import find_descendants
from graft.client import Client
from service.database import Database
from service.predictions import repository
from service.settings import Settings
from tests.support import deployments
from tests.support.images import coloured

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended


def test_requests_of_a_killed_predictor_fail_by_name_and_the_next_is_answered(
    tmp_path: Path, backbones: Path, archive: Path
) -> None:
    env = deployments.environment(tmp_path, backbones)
    with deployments.process(env, "up") as process, Client(deployments.ready(env)) as client:
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
        job = client.wait(client.create_job(dataset, "local/small", {"epochs": 2})["id"])
        url = f"{client.url}/v1/checkpoints/{job['checkpoints'][0]}/predict"
        found: list[httpx.Response] = []
        is_over = threading.Event()

        def ask(number: int) -> None:
            with httpx.Client(trust_env=False, timeout=60) as http:
                while not is_over.is_set():
                    found.append(http.post(url, content=coloured(number % 3, number)))

        assert httpx.post(url, content=coloured(0, 0), timeout=60).is_success
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        os.kill(find_predictor(process.pid), signal.SIGKILL)
        after = httpx.post(url, content=coloured(1, 1), timeout=60)
        is_over.set()
        for thread in threads:
            thread.join()
    assert after.is_success or after.json()["code"] == "predictor_lost"
    codes = {response.status_code if response.is_success else response.json()["code"] for response in found}
    assert codes <= {200, "predictor_lost"}
    assert found[-1].is_success, "it was started again"


def test_of_two_predictors_each_takes_its_share_and_one_answers_when_the_other_is_killed(
    tmp_path: Path, backbones: Path, archive: Path
) -> None:
    env = deployments.environment(tmp_path, backbones)
    with (
        deployments.process(env, "up") as process,
        Client(deployments.ready(env)) as client,
        deployments.process(env, "predictor") as second,
        ThreadPoolExecutor(8) as pool,
    ):
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
        job = client.wait(client.create_job(dataset, "local/small", {"epochs": 2})["id"])
        url = f"{client.url}/v1/checkpoints/{job['checkpoints'][0]}/predict"

        def ask(number: int) -> httpx.Response:
            return httpx.post(url, content=coloured(number % 3, number), timeout=120)

        _wait_for_predictors(Settings(data=tmp_path).database, 2)
        for stopped in (find_predictor(process.pid), second.pid):
            os.kill(stopped, signal.SIGSTOP)
            try:
                asked = [pool.submit(ask, number) for number in range(4)]
                done = wait(asked, 120, FIRST_COMPLETED).done
                assert done, "the other one answers"
            finally:
                os.kill(stopped, signal.SIGCONT)
            assert all(each.result().is_success for each in asked)
        asked = [pool.submit(ask, number) for number in range(100)]
        os.kill(second.pid, signal.SIGKILL)
        second.wait()
        assert all(ask(number).is_success for number in range(8)), "those that come after it are answered"
        found = [each.result() for each in asked]
    assert (
        {200} <= {one.status_code if one.is_success else one.json()["code"] for one in found} <= {200, "predictor_lost"}
    )


def find_predictor(service: int) -> int:
    """Find the predictor among the processes of `graft up`."""
    return next(
        pid for pid, command in find_descendants(service).items() if command.split()[-2:] == ["-m", "predictor"]
    )


def _wait_for_predictors(database_url: str, count: int) -> None:
    database = Database(database_url)
    until = time.monotonic() + deployments.READY_SECONDS
    while True:
        with database.reading() as session:
            if len(repository.find_alive(session)) == count:
                break
        assert time.monotonic() < until, "they do not register"
        time.sleep(0.1)
    database.close()
