"""Names of datasets for people, where lists hold their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.datasets import repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.batch_predictions.schemas import BatchPrediction
    from service.database import Database
    from service.jobs.schemas import ComparedJob, Job


def find_dataset_names(database: Database, jobs: Iterable[Job | ComparedJob | BatchPrediction]) -> dict[str, str]:
    """Find the name of the dataset of each job or prediction by its id; the id where it has none."""
    ids = {job.dataset for job in jobs}
    with database.reading() as session:
        found = repository.find_names(session, ids)
    return {dataset: found.get(dataset) or dataset for dataset in ids}
