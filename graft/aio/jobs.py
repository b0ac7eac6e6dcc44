"""Jobs: fine-tunings, to start, follow and use."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from graft import html
from graft.aio.connection import parse
from graft.aio.predictions import ENDED, AsyncPredictions
from graft.epoch_history import EpochHistory
from graft.errors import GraftError, WorkFailed
from graft.http_options import build_options
from graft.notebook import LiveOutput
from graft.results import jobs as results
from graft.results.checkpoints import Checkpoint
from graft.results.jobs import Calibration, Candidate, Comparison, Epoch, ImagePrediction, Slices, Thresholds, Trial
from graft.results.shared import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from graft.aio.connection import Json
    from graft.results.predictions import Prediction

SAVED = Path("best.safetensors")
REPR_SECONDS = 5.0
"""Time in which the service must answer for a job's repr."""


class AsyncJob(results.Job):
    """A fine-tuning: what is known of it, and what can be done with it. Iterating gives its events as they come.

    It is as the service described it when it was asked; `refresh` and `wait` give newer ones.
    """

    __slots__ = ("_jobs",)

    def __init__(self, json: Mapping[str, Any], jobs: AsyncJobs) -> None:
        super().__init__(json)
        self._jobs = jobs

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._jobs.events(self.id)

    async def refresh(self) -> AsyncJob:
        """Get the job as it is now."""
        return await self._jobs.job(self.id)

    async def wait(self, *, show: bool | None = None) -> AsyncJob:
        """Wait until it has ended; returns it, however it ended.

        show: whether to show it meanwhile: its state and curves in a notebook, its events in a line each elsewhere;
        None: in a notebook.
        """
        output, history = LiveOutput(show), EpochHistory()
        async for event in self:
            output.add_line(event)
            history.add(event)
            if output.is_due():
                output.replace(html.render_job(await self.refresh(), history.epochs))
        ended = await self.refresh()
        if output.is_notebook:
            output.replace(html.render_job(ended, history.epochs))
        return ended

    async def cancel(self) -> AsyncJob:
        """Cancel it."""
        return await self._jobs.cancel(self.id)

    async def pause(self) -> AsyncJob:
        """Pause it until it is resumed."""
        return await self._jobs.pause(self.id)

    async def resume(self) -> AsyncJob:
        """Resume it after a pause."""
        return await self._jobs.resume(self.id)

    async def stop(self) -> AsyncJob:
        """Stop it now and keep its best epoch."""
        return await self._jobs.stop(self.id)

    async def epochs(self) -> list[Epoch]:
        """List the metrics of each epoch."""
        return await self._jobs.metrics(self.id)

    @property
    def checkpoint(self) -> str:
        """Id of its best checkpoint; raises WorkFailed where it has none."""
        if not self.checkpoints:
            error = self.error or {"code": self.status, "message": f"The job {self.id} is {self.status}."}
            raise WorkFailed(error["code"], f"{error['message']} It has no checkpoint.")
        return self.checkpoints[0]

    async def predict(self, image: str | Path | bytes, *, top_k: int = 5, coverage: float = 0.9) -> Prediction:
        """Predict the classes of an image, a path or the bytes of a file, with its best checkpoint.

        Raises WorkFailed where it has none, GraftError where the image cannot be opened.
        """
        (found,) = await self._jobs.predict([image], [self.checkpoint], top_k=top_k, coverage=coverage)
        if found.error:
            raise GraftError(httpx.codes.UNPROCESSABLE_ENTITY, found.error.code, found.error.message)
        return found.predictions[0]

    async def download(self, path: str | Path = SAVED) -> Path:
        """Download its best checkpoint; raises WorkFailed where it has none."""
        return await self._jobs.download(self.checkpoint, path)

    def _repr_html_(self) -> str:
        """Render its state and curves, for notebooks."""
        return html.render_job(self, self._jobs.read_epochs(self.id))


def name_backbones(backbone: str | None, backbones: Sequence[str] | None) -> Json:
    """Name one backbone, or several, in the body of a request."""
    return {"backbone": backbone} if backbones is None else {"backbone": backbone, "backbones": list(backbones)}


class AsyncJobs(AsyncPredictions):
    """Calls about jobs."""

    async def create_job(
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
    ) -> AsyncJob:
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
        return self._make_job(await self._call("POST", "/v1/jobs", json=body, headers=key))

    async def job(self, job: str) -> AsyncJob:
        """Get a job: its state, progress and results."""
        return self._make_job(await self._get(f"/v1/jobs/{job}"))

    def jobs(self, **filters: Any) -> AsyncIterator[AsyncJob]:
        """List all jobs, newest first; filters are status, dataset, backbone."""
        return self._iterate_pages(self._make_job, "/v1/jobs", filters)

    async def compare_jobs(self, jobs: Sequence[str]) -> Comparison:
        """Compare jobs: their results side by side, and the fields in which their recipes differ."""
        return Comparison(await self._get("/v1/jobs/compare", {"ids": ",".join(jobs)}))

    async def cancel(self, job: str) -> AsyncJob:
        """Cancel a job."""
        return self._make_job(await self._call("POST", f"/v1/jobs/{job}/cancel"))

    async def pause(self, job: str) -> AsyncJob:
        """Pause a job until it is resumed."""
        return self._make_job(await self._call("POST", f"/v1/jobs/{job}/pause"))

    async def stop(self, job: str) -> AsyncJob:
        """Stop a running job now and keep its best epoch."""
        return self._make_job(await self._call("POST", f"/v1/jobs/{job}/stop"))

    async def resume(self, job: str) -> AsyncJob:
        """Resume a paused job."""
        response = await self._request("POST", f"/v1/jobs/{job}/resume")
        if response.status_code == httpx.codes.CONFLICT:
            # If only an answer was lost, the service refuses the repetition of what it has done.
            found = await self.job(job)
            if found["status"] in ("queued", "running"):
                return found
        return self._make_job(parse(response))

    async def delete_job(self, job: str) -> None:
        """Delete a job that has ended, with its checkpoints."""
        await self._delete(f"/v1/jobs/{job}")

    def events(self, job: str) -> AsyncIterator[Event]:
        """Stream all events of a job, live until it ends; resumes after a broken connection.

        Raises httpx.TransportError when the service stays away for longer than PATIENCE_SECONDS.
        """

        async def has_ended() -> bool:
            return (await self.job(job))["status"] in ENDED

        return self._follow(f"/v1/jobs/{job}/events", has_ended)

    def list_events(self, job: str) -> AsyncIterator[Event]:
        """List the events of a job so far."""
        return self._iterate_pages(Event, f"/v1/jobs/{job}/events", {"limit": 1000})

    async def wait(self, job: str) -> AsyncJob:
        """Wait until a job has ended; returns it."""
        async for _ in self.events(job):
            pass
        return await self.job(job)

    async def metrics(self, job: str) -> list[Epoch]:
        """List the metrics of each epoch."""
        return [one async for one in self._iterate_pages(Epoch, f"/v1/jobs/{job}/metrics", {"limit": 1000})]

    async def trials(self, job: str) -> list[Trial]:
        """List the heads that a search has tried, the best first."""
        return [one async for one in self._iterate_pages(Trial, f"/v1/jobs/{job}/trials", {})]

    async def candidates(self, job: str) -> list[Candidate]:
        """List the recipes that a job with a `quality` has tried or left out, the first one first.

        Another one than the best is delivered by a job of its own: `create_job(dataset, candidate.backbone,
        candidate.recipe)`.
        """
        return [one async for one in self._iterate_pages(Candidate, f"/v1/jobs/{job}/candidates", {})]

    def job_predictions(self, job: str, **filters: Any) -> AsyncIterator[ImagePrediction]:
        """List what a job's checkpoint predicts for its test images, the worst mistakes first.

        Filters are split (test or validation), label, predicted, order (worst, doubtful or name), top_k, by with slice,
        above and up_to.
        """
        return self._iterate_pages(ImagePrediction, f"/v1/jobs/{job}/predictions", {"limit": 1000, **filters})

    async def calibration(self, job: str, split: str = "test") -> Calibration:
        """Get a reliability diagram of a job's predictions, and the calibration error."""
        return Calibration(await self._get(f"/v1/jobs/{job}/calibration", {"split": split}))

    async def thresholds(self, job: str, split: str = "test", **filters: Any) -> Thresholds:
        """Get what thresholds of the probability leave; filters are label, and at: some from 0 to 1, by commas."""
        return Thresholds(await self._get(f"/v1/jobs/{job}/thresholds", {"split": split, **filters}))

    async def slices(self, job: str, by: str, split: str = "test") -> Slices:
        """Get a job's accuracy by class, size, shape, flag, format or folder of its images."""
        return Slices(await self._get(f"/v1/jobs/{job}/slices", {"split": split, "by": by}))

    async def checkpoints(self, job: str) -> list[Checkpoint]:
        """List the checkpoints of a job, the best first."""
        return [one async for one in self._iterate_pages(Checkpoint, f"/v1/jobs/{job}/checkpoints", {})]

    def read_epochs(self, job: str) -> list[Epoch]:
        """Read the metrics of a job's epochs while the caller waits, for its repr; empty where the service is away."""
        try:
            with httpx.Client(**build_options(self.url, REPR_SECONDS, self._key)) as blocking:
                page = parse(blocking.get(f"/v1/jobs/{job}/metrics", params={"limit": 1000}))
        except (httpx.HTTPError, GraftError):
            return []
        return [Epoch(one) for one in page["data"]]

    def _make_job(self, json: Mapping[str, Any]) -> AsyncJob:
        return AsyncJob(json, self)
