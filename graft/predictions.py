"""Predictions: single requests, and batch predictions for every image of a dataset."""

# Written by tools/synchronous_client.py from graft/aio/predictions.py: change that, and `make docs`.
from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft import form
from graft.checkpoint_files import CheckpointFiles
from graft.connection import require_success
from graft.errors import GraftError, InputUnusable
from graft.results.predictions import BatchPrediction, ImagePredictions, Nearest
from graft.runtime import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from graft.connection import Json
    from graft.results.shared import Event

ENDED = ("succeeded", "failed", "cancelled")
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
"""Formats of results by the endings of their files."""


class Predictions(CheckpointFiles):
    """Calls about predictions."""

    def predict(
        self, images: Sequence[str | Path | bytes], models: Sequence[str], *, top_k: int = 5, coverage: float = 0.9
    ) -> list[ImagePredictions]:
        """Have models, names or checkpoint ids, predict; gives predictions, or an `error`, for each image in order.

        images: paths, or the bytes of files.
        """
        files = [Path(image) if isinstance(image, str) else image for image in images]
        fields = {"models": ",".join(models), "top_k": str(top_k), "coverage": str(coverage)}
        content = run(partial(form.join, fields, files))
        answer = self._call("POST", "/v1/predict", content=content, headers=form.HEADERS)
        return [ImagePredictions(one) for one in answer["data"]]

    def saliency(self, image: str | Path | bytes, model: str, class_name: str | None = None) -> bytes:
        """Draw which parts of an image speak for a class, the most probable one by default: a PNG to be laid over it.

        model: the name of a model, or the id of a checkpoint.
        """
        kind = "checkpoints" if model.startswith("ckpt_") else "models"
        content = run(partial(form.read_image, image))
        query = {} if class_name is None else {"class": class_name}
        response = self._request("POST", f"/v1/{kind}/{model}/saliency", content=content, params=query)
        return require_success(response).content

    def nearest(self, image: str | Path | bytes, model: str, count: int = 6) -> Nearest:
        """Find the training images that are most like an image, by their features; `reason` says why there are none.

        model: the name of a model, or the id of a checkpoint.
        """
        kind = "checkpoints" if model.startswith("ckpt_") else "models"
        content = run(partial(form.read_image, image))
        address = f"/v1/{kind}/{model}/nearest"
        return Nearest(self._call("POST", address, content=content, params={"count": count}))

    def create_prediction(
        self,
        dataset: str,
        models: Sequence[str],
        *,
        top_k: int = 5,
        coverage: float = 0.9,
        name: str | None = None,
    ) -> BatchPrediction:
        """Have models predict for every image of a dataset; a call that is repeated makes no second batch prediction.

        Returns it at once; a worker then runs it.
        """
        body: Json = {"dataset": dataset, "models": list(models), "top_k": top_k, "coverage": coverage, "name": name}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return BatchPrediction(self._call("POST", "/v1/predictions", json=body, headers=key))

    def prediction(self, prediction: str) -> BatchPrediction:
        """Get a batch prediction: its state, progress and results."""
        return BatchPrediction(self._get(f"/v1/predictions/{prediction}"))

    def predictions(self, **filters: Any) -> Iterator[BatchPrediction]:
        """List all batch predictions, newest first; filters are status, dataset, model."""
        return self._iterate_pages(BatchPrediction, "/v1/predictions", filters)

    def cancel_prediction(self, prediction: str) -> BatchPrediction:
        """Cancel a batch prediction."""
        return BatchPrediction(self._call("POST", f"/v1/predictions/{prediction}/cancel"))

    def delete_prediction(self, prediction: str) -> None:
        """Delete a batch prediction that has ended, with its results."""
        self._delete(f"/v1/predictions/{prediction}")

    def prediction_events(self, prediction: str) -> Iterator[Event]:
        """Stream all events of a batch prediction, live until it ends; resumes after a broken connection."""

        def has_ended() -> bool:
            return (self.prediction(prediction))["status"] in ENDED

        return self._follow(f"/v1/predictions/{prediction}/events", has_ended)

    def wait_for_prediction(self, prediction: str) -> BatchPrediction:
        """Wait until a batch prediction has ended; returns it."""
        for _ in self.prediction_events(prediction):
            pass
        return self.prediction(prediction)

    def download_predictions(self, prediction: str, path: str | Path, format: str | None = None) -> Path:
        """Download the results of a batch prediction, checked against their digest; resumes after a broken connection.

        format: csv, jsonl or parquet; by default as the file's name ends. Raises InputUnusable, DownloadDamaged, and
        GraftError where there are none.
        """
        path = Path(path)
        address = f"/v1/predictions/{prediction}/content?format={format or choose_format(path)}"
        answer = self._request("HEAD", address)
        if answer.is_error:
            raise GraftError.from_response(self._request("GET", address))
        self._download_file(address, answer.headers["etag"].strip('"'), path)
        return path


def choose_format(path: Path) -> str:
    """Choose the format of results by the ending of a file's name; raises InputUnusable."""
    if path.suffix.lower() not in FORMATS:
        raise InputUnusable(f"{path.name} must end in .csv, .jsonl or .parquet: that is the format of the results.")
    return FORMATS[path.suffix.lower()]
