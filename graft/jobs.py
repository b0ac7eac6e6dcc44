"""Jobs: fine-tunings, to start, follow and use."""

# Written by tools/synchronous_client.py from graft/aio/jobs.py: change that, and `make docs`.
from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from graft import html
from graft.connection import parse
from graft.epoch_history import EpochHistory
from graft.errors import GraftError, WorkFailed
from graft.http_options import build_options
from graft.notebook import LiveOutput
from graft.predictions import ENDED, Predictions
from graft.results import jobs as results
from graft.results.checkpoints import Checkpoint
from graft.results.jobs import Calibration, Candidate, Comparison, Epoch, ImagePrediction, Slices, Thresholds, Trial
from graft.results.shared import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from graft.connection import Json
    from graft.results.predictions import Prediction

SAVED = Path("best.safetensors")
REPR_SECONDS = 5.0
"""Time in which the service must answer for a job's repr."""


class Job(results.Job):
    """A fine-tuning: what is known of it, and what can be done with it. Iterating gives its events as they come.

    It is as the service described it when it was asked; `refresh` and `wait` give newer ones.
    """

    __slots__ = ("_jobs",)

    def __init__(self, json: Mapping[str, Any], jobs: Jobs) -> None:
        super().__init__(json)
        self._jobs = jobs

    def __iter__(self) -> Iterator[Event]:
        return self._jobs.events(self.id)

    def refresh(self) -> Job:
        """Get the job as it is now."""
        return self._jobs.job(self.id)

    def wait(self, *, show: bool | None = None) -> Job:
        """Wait until it has ended; returns it, however it ended.

        show: whether to show it meanwhile: its state and curves in a notebook, its events in a line each elsewhere;
        None: in a notebook.
        """
        output, history = LiveOutput(show), EpochHistory()
        for event in self:
            output.add_line(event)
            history.add(event)
            if output.is_due():
                output.replace(html.render_job(self.refresh(), history.epochs))
        ended = self.refresh()
        if output.is_notebook:
            output.replace(html.render_job(ended, history.epochs))
        return ended

    def cancel(self) -> Job:
        """Cancel it."""
        return self._jobs.cancel(self.id)

    def pause(self) -> Job:
        """Pause it until it is resumed."""
        return self._jobs.pause(self.id)

    def resume(self) -> Job:
        """Resume it after a pause."""
        return self._jobs.resume(self.id)

    def stop(self) -> Job:
        """Stop it now and keep its best epoch."""
        return self._jobs.stop(self.id)

    def epochs(self) -> list[Epoch]:
        """List the metrics of each epoch."""
        return self._jobs.metrics(self.id)

    @property
    def checkpoint(self) -> str:
        """Id of its best checkpoint; raises WorkFailed where it has none."""
        if not self.checkpoints:
            error = self.error or {"code": self.status, "message": f"The job {self.id} is {self.status}."}
            raise WorkFailed(error["code"], f"{error['message']} It has no checkpoint.")
        return self.checkpoints[0]

    def predict(self, image: str | Path | bytes, *, top_k: int = 5, coverage: float = 0.9) -> Prediction:
        """Predict the classes of an image, a path or the bytes of a file, with its best checkpoint.

        Raises WorkFailed where it has none, GraftError where the image cannot be opened.
        """
        (found,) = self._jobs.predict([image], [self.checkpoint], top_k=top_k, coverage=coverage)
        if found.error:
            raise GraftError(httpx.codes.UNPROCESSABLE_ENTITY, found.error.code, found.error.message)
        return found.predictions[0]

    def download(self, path: str | Path = SAVED) -> Path:
        """Download its best checkpoint; raises WorkFailed where it has none."""
        return self._jobs.download(self.checkpoint, path)

    def _repr_html_(self) -> str:
        """Render its state and curves, for notebooks."""
        return html.render_job(self, self._jobs.read_epochs(self.id))


def name_backbones(backbone: str | None, backbones: Sequence[str] | None) -> Json:
    """Name one backbone, or several, in the body of a request."""
    return {"backbone": backbone} if backbones is None else {"backbone": backbone, "backbones": list(backbones)}


class Jobs(Predictions):
    """Calls about jobs."""

    def create_job(
        self,
        dataset: str,
        backbone: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        publish: str | Mapping[str, str] | None = None,
        *,
        backbones: Sequence[str] | None = None,
    ) -> Job:
        """Start a fine-tuning; repeating the call over a broken connection creates no second job.

        backbones: several in place of one, of which the best is delivered, with the quality balanced or best in the
        recipe. publish: the name of a model that its checkpoint becomes, or {"name": …, "when": "if_better"}.
        """
        body: Json = {"dataset": dataset, "recipe": recipe or {}, "name": name}
        body |= name_backbones(backbone, backbones)
        body |= {"metadata": dict(metadata or {}), "priority": priority}
        if publish is not None:
            body["publish"] = publish if isinstance(publish, str) else dict(publish)
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return self._make_job(self._call("POST", "/v1/jobs", json=body, headers=key))

    def job(self, job: str) -> Job:
        """Get a job: its state, progress and results."""
        return self._make_job(self._get(f"/v1/jobs/{job}"))

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """List all jobs, newest first; filters are status, dataset, backbone."""
        return self._iterate_pages(self._make_job, "/v1/jobs", filters)

    def compare_jobs(self, jobs: Sequence[str]) -> Comparison:
        """Compare jobs: their results side by side, and the fields in which their recipes differ."""
        return Comparison(self._get("/v1/jobs/compare", {"ids": ",".join(jobs)}))

    def cancel(self, job: str) -> Job:
        """Cancel a job."""
        return self._make_job(self._call("POST", f"/v1/jobs/{job}/cancel"))

    def pause(self, job: str) -> Job:
        """Pause a job until it is resumed."""
        return self._make_job(self._call("POST", f"/v1/jobs/{job}/pause"))

    def stop(self, job: str) -> Job:
        """Stop a running job now and keep its best epoch."""
        return self._make_job(self._call("POST", f"/v1/jobs/{job}/stop"))

    def resume(self, job: str) -> Job:
        """Resume a paused job."""
        response = self._request("POST", f"/v1/jobs/{job}/resume")
        if response.status_code == httpx.codes.CONFLICT:
            # If only an answer was lost, the service refuses the repetition of what it has done.
            found = self.job(job)
            if found["status"] in ("queued", "running"):
                return found
        return self._make_job(parse(response))

    def delete_job(self, job: str) -> None:
        """Delete a job that has ended, with its checkpoints."""
        self._delete(f"/v1/jobs/{job}")

    def events(self, job: str) -> Iterator[Event]:
        """Stream all events of a job, live until it ends; resumes after a broken connection.

        Raises httpx.TransportError when the service stays away for longer than PATIENCE_SECONDS.
        """

        def has_ended() -> bool:
            return (self.job(job))["status"] in ENDED

        return self._follow(f"/v1/jobs/{job}/events", has_ended)

    def list_events(self, job: str) -> Iterator[Event]:
        """List the events of a job so far."""
        return self._iterate_pages(Event, f"/v1/jobs/{job}/events", {"limit": 1000})

    def wait(self, job: str) -> Job:
        """Wait until a job has ended; returns it."""
        for _ in self.events(job):
            pass
        return self.job(job)

    def metrics(self, job: str) -> list[Epoch]:
        """List the metrics of each epoch."""
        return list(self._iterate_pages(Epoch, f"/v1/jobs/{job}/metrics", {"limit": 1000}))

    def trials(self, job: str) -> list[Trial]:
        """List the heads that a search has tried, the best first."""
        return list(self._iterate_pages(Trial, f"/v1/jobs/{job}/trials", {}))

    def candidates(self, job: str) -> list[Candidate]:
        """List the recipes that a job with a `quality` has tried or left out, the first one first.

        Another one than the best is delivered by a job of its own: `create_job(dataset, candidate.backbone,
        candidate.recipe)`.
        """
        return list(self._iterate_pages(Candidate, f"/v1/jobs/{job}/candidates", {}))

    def job_predictions(self, job: str, **filters: Any) -> Iterator[ImagePrediction]:
        """List what a job's checkpoint predicts for its test images, the worst mistakes first.

        Filters are split (test or validation), label, predicted, order (worst, doubtful or name), top_k, by with slice,
        above and up_to.
        """
        return self._iterate_pages(ImagePrediction, f"/v1/jobs/{job}/predictions", {"limit": 1000, **filters})

    def calibration(self, job: str, split: str = "test") -> Calibration:
        """Get a reliability diagram of a job's predictions, and the calibration error."""
        return Calibration(self._get(f"/v1/jobs/{job}/calibration", {"split": split}))

    def thresholds(self, job: str, split: str = "test", **filters: Any) -> Thresholds:
        """Get what thresholds of the probability leave; filters are label, and at: some from 0 to 1, by commas."""
        return Thresholds(self._get(f"/v1/jobs/{job}/thresholds", {"split": split, **filters}))

    def slices(self, job: str, by: str, split: str = "test") -> Slices:
        """Get a job's accuracy by class, size, shape, flag, format or folder of its images."""
        return Slices(self._get(f"/v1/jobs/{job}/slices", {"split": split, "by": by}))

    def checkpoints(self, job: str) -> list[Checkpoint]:
        """List the checkpoints of a job, the best first."""
        return list(self._iterate_pages(Checkpoint, f"/v1/jobs/{job}/checkpoints", {}))

    def read_epochs(self, job: str) -> list[Epoch]:
        """Read the metrics of a job's epochs while the caller waits, for its repr; empty where the service is away."""
        try:
            with httpx.Client(**build_options(self.url, REPR_SECONDS, self._key)) as blocking:
                page = parse(blocking.get(f"/v1/jobs/{job}/metrics", params={"limit": 1000}))
        except (httpx.HTTPError, GraftError):
            return []
        return [Epoch(one) for one in page["data"]]

    def _make_job(self, json: Mapping[str, Any]) -> Job:
        return Job(json, self)
