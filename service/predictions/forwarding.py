"""Forwarding of questions to a predictor that lives, over connections that are kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from service.predictions import protocol, repository
from service.predictions.connections import Answer, ConnectionLost, Connections, Unreachable
from service.predictions.errors import HOW_TO_START, NoPredictor, PredictorLost
from service.problems import build_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from service.database import Database
    from service.tables import Predictor

START_SECONDS = 10.0
"""Time for a predictor to register after the API has started: they start together."""
RESTART_SECONDS = 20.0
"""Time for which a request waits where a predictor has died lately: it is probably being started again."""
POLL_SECONDS = 0.1
AVOID_SECONDS = 3.0
"""Time for which one that cannot be reached is not tried again."""
KNOWN_SECONDS = 0.5
"""Time for which the list of predictors that live is kept."""
ANSWER_SECONDS = 600.0
"""Time for an answer: a large trunk may have to be loaded first."""


class Forwarding:
    """Connections of the API to all predictors."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connections = Connections()
        self._busy: Counter[str] = Counter()
        """Questions that each predictor has now."""
        self._avoided: dict[str, float] = {}
        """Predictors that could not be reached, though their rows are young, and until when they are avoided."""
        self._started_at = time.monotonic()
        self._alive: Sequence[Predictor] = ()
        self._found_at = 0.0

    async def ask(self, message: bytes, path: str = protocol.PATH, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a message to the predictor that has the fewest, at one of its addresses; returns its answer.

        Raises NoPredictor, PredictorLost.
        """
        asked_at = time.monotonic()
        while True:
            had_lately = await self._look() if time.monotonic() - self._found_at > KNOWN_SECONDS else True
            now = time.monotonic()
            there = [predictor for predictor in self._alive if self._avoided.get(predictor.id, 0.0) < now]
            if not there:
                self._found_at = 0.0
                until = max(self._started_at + START_SECONDS, asked_at + RESTART_SECONDS if had_lately else 0.0)
                if time.monotonic() > until:
                    raise NoPredictor(f"No predictor is running, which answers such requests. {HOW_TO_START}")
                await asyncio.sleep(POLL_SECONDS)
                continue
            chosen = min(there, key=lambda predictor: self._busy[predictor.id])
            response = await self._send(chosen, path, message, headers or {})
            if response is not None:
                return response

    async def _send(self, predictor: Predictor, path: str, message: bytes, headers: Mapping[str, str]) -> Answer | None:
        """Send a message; None if the predictor cannot be reached, and has none of it."""
        self._busy[predictor.id] += 1
        try:
            return await self._connections.post(
                f"{predictor.address}{path}",
                {protocol.SECRET_HEADER: predictor.secret, **headers},
                message,
                ANSWER_SECONDS,
            )
        except Unreachable:
            self._avoided[predictor.id] = time.monotonic() + AVOID_SECONDS
            return None
        except ConnectionLost as error:
            raise PredictorLost(f"The predictor ended while it had the request ({error}). Send it again.") from error
        finally:
            self._busy[predictor.id] -= 1

    async def _look(self) -> bool:
        """Look which predictors live; returns whether one lives, or has died lately."""
        self._alive, had_lately = await run_in_threadpool(self._find)
        self._found_at = time.monotonic()
        return had_lately

    def _find(self) -> tuple[Sequence[Predictor], bool]:
        with self._database.reading() as session:
            alive = repository.find_alive(session)
            return alive, bool(alive) or repository.had_lately(session)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()


def pass_on(request: Request, answer: Answer) -> Response:
    """Pass a predictor's error on; one of its own, which its log shows, is one of the service."""
    problem = protocol.read_problem(answer.content)
    if problem is None:
        detail = "The predictor met an error of its own, which its log shows. If it comes again, please report it."
        return build_problem(request, 500, "internal_error", detail)
    return build_problem(request, answer.status, problem["code"], problem["detail"])
