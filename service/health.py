"""Liveness, readiness, and metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from service.backbones import repository as backbones
from service.database import Database
from service.dependencies import DatabaseDep
from service.errors import GraftError
from service.tables import BatchPrediction, Checkpoint, Dataset, Job, Recommendation, Tensor

router = APIRouter(tags=["health"])


def describe_service() -> dict[str, str]:
    """List where the documentation and the state of the service are."""
    return {
        "name": "Graft",
        "version": version("graft"),
        "documentation": "/docs",
        "openapi": "/openapi.json",
        "ready": "/readyz",
    }


@router.get("/healthz")
def get_health() -> dict[str, str]:
    """Check that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Not ready, and why"}})
def get_readiness(database: DatabaseDep) -> dict[str, str]:
    """Check that the service can take work: the database answers, and a worker has listed the backbones."""
    with database.reading() as session:
        backbones.require_listed(session)
    return {"status": "ready"}


def find_problem(database: Database) -> str | None:
    """Find why the service cannot take work, in words for people; None where it can."""
    try:
        get_readiness(database)
    except GraftError as error:
        return error.detail
    return None


@router.get("/metrics", response_class=Response)
def get_metrics(database: DatabaseDep) -> Response:
    """Get metrics of the whole service in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_DatabaseMetrics(database))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _DatabaseMetrics(Collector):
    """Metrics of the database, the same on every API process."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Describe nothing: the registry would otherwise collect twice."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Count rows and bytes."""
        with self.database.reading() as session:
            for name, table in (
                ("jobs", Job),
                ("datasets", Dataset),
                ("predictions", BatchPrediction),
                ("recommendations", Recommendation),
            ):
                gauge = GaugeMetricFamily(f"graft_{name}", f"Number of {name} in each state", labels=["status"])
                for status, count in session.execute(select(table.status, func.count()).group_by(table.status)):
                    gauge.add_metric([status], count)
                yield gauge
            checkpoints = session.scalar(select(func.count()).select_from(Checkpoint)) or 0
            stored = session.scalar(select(func.sum(Tensor.bytes))) or 0
        yield GaugeMetricFamily("graft_checkpoints", "Checkpoints stored", value=checkpoints)
        yield GaugeMetricFamily(
            "graft_checkpoint_bytes", "Bytes of the stored tensors, each counted once", value=float(stored)
        )
