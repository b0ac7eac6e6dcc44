"""HTTP client of Graft's API."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from graft import inputs
from graft.aio.backbones import AsyncBackbones
from graft.aio.datasets import AsyncDatasets
from graft.aio.jobs import AsyncJob, AsyncJobs, name_backbones
from graft.aio.runtime import run
from graft.errors import WorkFailed
from graft.notebook import LiveOutput
from graft.results.cache import Cache
from graft.results.keys import Key, NewKey
from graft.results.models import Model, Move
from graft.results.techniques import Catalog, CheckedRecipe
from graft.results.workers import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path


class AsyncClient(AsyncJobs, AsyncDatasets, AsyncBackbones):
    """Calls of one service. Each raises GraftError where the service refuses it."""

    async def fine_tune(
        self,
        images: str | Path,
        backbone: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        *,
        backbones: Sequence[str] | None = None,
        name: str | None = None,
        publish: str | Mapping[str, str] | None = None,
        show: bool | None = None,
    ) -> AsyncJob:
        """Upload images, wait until they are validated, and start a fine-tuning; returns the job.

        The recipe and the backbone are checked before anything is sent.

        images: a folder with a folder of images for each class, an archive of one, or the id of a dataset. backbones,
        name, publish: as of `create_job`. show: False hides how far the upload is, which notebooks show. Raises
        InputUnusable where there are no images, WorkFailed where they cannot be used.
        """
        await self.check_recipe(recipe or {}, backbone, backbones=backbones)
        found = await run(partial(inputs.parse_images, images))
        if isinstance(found, str):
            return await self.create_job(found, backbone, recipe, name, publish=publish, backbones=backbones)
        counted = LiveOutput(show).count_bytes(f"Uploading {images}", found.size)
        made = await self.create_dataset(found, sent=counted)
        dataset = await self.wait_for_dataset(made.id)
        if dataset.error:
            raise WorkFailed(dataset.error["code"], dataset.error["message"])
        return await self.create_job(dataset.id, backbone, recipe, name, publish=publish, backbones=backbones)

    async def check_recipe(
        self,
        recipe: Mapping[str, Any],
        backbone: str | None = None,
        dataset: str | None = None,
        *,
        backbones: Sequence[str] | None = None,
    ) -> CheckedRecipe:
        """Check a recipe without starting a job; returns it with its defaults, warnings and what the job costs.

        Raises GraftError where a job would be refused.
        """
        body = {"recipe": recipe, "dataset": dataset, **name_backbones(backbone, backbones)}
        return CheckedRecipe(await self._call("POST", "/v1/recipes/check", json=body))

    async def techniques(self) -> Catalog:
        """Get the catalog of techniques."""
        return Catalog(await self._get("/v1/techniques"))

    def models(self) -> AsyncIterator[Model]:
        """List models by name: names, and the checkpoints that they point at."""
        return self._iterate_pages(Model, "/v1/models", {})

    async def model(self, name: str) -> Model:
        """Get a model: the checkpoint that a name points at."""
        return Model(await self._get(f"/v1/models/{name}"))

    async def put_model(self, name: str, checkpoint: str) -> Model:
        """Make a name point at a checkpoint; a new name is made."""
        return Model(await self._call("PUT", f"/v1/models/{name}", json={"checkpoint": checkpoint}))

    async def delete_model(self, name: str) -> None:
        """Delete a name; its checkpoint stays."""
        await self._delete(f"/v1/models/{name}")

    async def model_history(self, name: str) -> list[Move]:
        """List what a name has pointed at, oldest first."""
        return [one async for one in self._iterate_pages(Move, f"/v1/models/{name}/history", {})]

    async def cache(self) -> Cache:
        """Get the size of the feature cache, and what it has saved."""
        return Cache(await self._get("/v1/cache"))

    async def empty_cache(self) -> Cache:
        """Have the workers empty the feature cache; returns it as it is now."""
        return Cache(await self._call("DELETE", "/v1/cache"))

    def workers(self) -> AsyncIterator[Worker]:
        """List the workers of the last days, with whether they live."""
        return self._iterate_pages(Worker, "/v1/workers", {})

    async def create_key(
        self, name: str, scopes: Sequence[str] = ("write",), expires_in: float | None = None
    ) -> NewKey:
        """Create an API key, valid for `expires_in` seconds or for ever; its `secret` is in this answer alone."""
        body = {"name": name, "scopes": list(scopes), "expires_in": expires_in}
        return NewKey(await self._call("POST", "/v1/keys", json=body))

    def keys(self) -> AsyncIterator[Key]:
        """List API keys, newest first, revoked ones included."""
        return self._iterate_pages(Key, "/v1/keys", {})

    async def revoke_key(self, key: str) -> None:
        """Revoke an API key, for good."""
        await self._delete(f"/v1/keys/{key}")
