"""Router of all endpoints, in the order of the documentation."""

from fastapi import APIRouter

from service import health
from service.backbones import endpoints as backbones
from service.cache import endpoints as cache
from service.checkpoints import endpoints as checkpoints
from service.datasets import endpoints as datasets
from service.jobs import endpoints as jobs
from service.techniques import endpoints as techniques

router = APIRouter()
for part in (datasets, backbones, techniques, jobs, checkpoints, cache, health):
    router.include_router(part.router)
