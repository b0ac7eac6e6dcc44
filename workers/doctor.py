"""Checks of a machine for `graft doctor`, from its settings to its GPU; a JSON object a line."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from sqlalchemy.engine import make_url

from service import startup
from service.settings import find_misspelled, from_environment
from service.startup import CannotStart
from service.storage import find_folder
from workers import device
from workers.tracking import tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.settings import Settings

PACKAGES = ("torch", "torchvision", "timm", "fastapi", "sqlalchemy", "celery", "openvino")
LOW_BYTES = 5 << 30
"""Free bytes below which a disk is told to be nearly full."""
HUB = "https://huggingface.co"
HUB_SECONDS = 5.0
WITHOUT_PAGE = (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
"""Answers of a mirror that has no page for everybody, but may have weights."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

Check = tuple[str, str]
"""The state (ok, note or problem), and what is to be said."""


def run_checks(settings: Settings) -> Iterator[dict[str, str]]:
    """Run all checks; each is told as soon as it is known."""
    checks: dict[str, Callable[[Settings], Check]] = {
        "versions": check_versions,
        "settings": check_settings,
        "database": check_database,
        "broker": check_broker,
        "storage": check_storage,
        "disk": check_disk,
        "backbones": check_backbones,
        "GPU": check_gpu,
        "hub": check_hub,
        "trackers": check_trackers,
    }
    for name, check in checks.items():
        try:
            state, message = check(settings)
        except CannotStart as error:
            state, message = "problem", str(error)
        except Exception as error:  # whatever it is, the other checks go on
            told = " ".join(f"{type(error).__name__}: {error}".split())
            state, message = "problem", f"this could not be checked ({told})"
        yield {"name": name, "state": state, "message": message}


def check_versions(settings: Settings) -> Check:
    """List the versions of what results depend on."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # an extra
            found.append(f"{package} is not installed")
    return "ok", f"graft {version('graft')}, {', '.join(found)}"


def check_settings(settings: Settings) -> Check:
    """Find variables that have no effect since they are misspelled."""
    wrong = [f"{name} has no effect; did you mean {meant}?" for name, meant in find_misspelled().items()]
    return ("problem", " ".join(wrong)) if wrong else ("ok", f"data in {settings.data.absolute()}")


def check_database(settings: Settings) -> Check:
    """Check that the database answers, in the newest schema; one that is missing is not made. Raises CannotStart."""
    url = make_url(settings.database)
    if url.get_backend_name() != "sqlite":
        startup.check_schema(settings)
        return "ok", "PostgreSQL answers"
    file = Path(url.database or "")
    if not file.exists():
        startup.check_folder(file.parent, "GRAFT_DATABASE_URL" if settings.database_url else "GRAFT_DATA")
        return "note", f"there is none yet at {file}: `graft up` makes it, or `graft migrate`"
    startup.check_schema(settings)
    return "ok", "SQLite"


def check_broker(settings: Settings) -> Check:
    """Check that Redis answers, where there is one."""
    problem = startup.find_broker_problem(settings)
    if problem:
        return "problem", problem
    return "ok", "Redis answers" if settings.broker_url else "none: workers look for work in the database"


def check_storage(settings: Settings) -> Check:
    """Check that the storage answers; a folder that is missing is not made. Raises CannotStart."""
    folder = find_folder(settings.storage)
    if folder and not folder.exists():
        startup.check_folder(folder, "GRAFT_STORAGE_URL" if settings.storage_url else "GRAFT_DATA")
        return "note", f"there is none yet at {folder}: it is made at the start"
    startup.check_storage(settings)
    return "ok", "it answers"


def check_disk(settings: Settings) -> Check:
    """Check that there is room for data and for the feature cache. Raises CannotStart where none can be written."""
    free = {}
    cache_setting = "GRAFT_CACHE_DIR" if settings.cache_dir else "GRAFT_DATA"
    for folder, setting in ((settings.data, "GRAFT_DATA"), (settings.cache, cache_setting)):
        startup.check_folder(folder, setting)
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free[str(folder)] = shutil.disk_usage(there).free
    told = ", ".join(f"{size / 1e9:,.1f} GB free for {folder}" for folder, size in free.items())
    if min(free.values()) < LOW_BYTES:
        return "problem", f"{told}. Free some space, or set GRAFT_CACHE_BYTES or GRAFT_DATA."
    return "ok", told


def check_backbones(settings: Settings) -> Check:
    """Check the folder of backbones of one's own. Raises CannotStart."""
    startup.check_backbones(settings)
    folder = settings.backbones
    if folder is None:
        return "ok", "GRAFT_BACKBONES is not set: those of the hub alone"
    return "ok", f"{sum(path.is_dir() for path in folder.iterdir())} folders in {folder}"


def check_gpu(settings: Settings) -> Check:
    """Check the device of GRAFT_DEVICE, or tell which one a worker would take. Raises CannotStart."""
    device.check_driver(settings.device)
    device.check_in_a_process(settings.device)
    return describe_device(settings.device)


def describe_device(name: str) -> Check:
    """Describe the device of GRAFT_DEVICE, or the one that `auto` takes."""
    import torch  # seconds, and only here

    from models.runtime import devices

    chosen = devices.choose(name)
    if chosen.type == "cuda":
        card = torch.cuda.get_device_properties(chosen)
        return "ok", f"{card.name}, {card.total_memory / 1e9:,.0f} GB, by PyTorch {torch.__version__}"
    if chosen.type == "mps":
        return "ok", f"MPS, by PyTorch {torch.__version__}"
    if name == "cpu":
        return "note", "GRAFT_DEVICE=cpu: networks run on the processor"
    if NVIDIA_DRIVER.exists():
        what = f"there is an NVIDIA driver, but PyTorch {torch.__version__} cannot use it. Update the driver."
        return "problem", what
    return "note", "none: networks run on the processor"


def check_hub(settings: Settings) -> Check:
    """Check that the Hugging Face Hub can be reached, where pretrained weights come from."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "note", "HF_HUB_OFFLINE is set: only weights that are on this machine already"
    address = os.environ.get("HF_ENDPOINT", HUB)
    try:
        answer = httpx.head(address, timeout=HUB_SECONDS, follow_redirects=True)
        found = "" if answer.is_success or answer.status_code in WITHOUT_PAGE else f"answers {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = f"does not answer ({error})"
    if not found:
        return "ok", f"{address} answers"
    what = f"{address} {found}. Weights that are not on this machine cannot be loaded: check the"
    return "problem", f"{what} network, set HF_ENDPOINT to a mirror, or HF_HUB_OFFLINE=1 to do without."


def check_trackers(settings: Settings) -> Check:
    """Check that the packages of the experiment trackers are installed. Raises CannotStart."""
    tracking.check_packages(settings)
    named = [f"GRAFT_{name.upper()}" for name in tracking.PACKAGES if getattr(settings, name)]
    return "ok", f"the packages of {', '.join(named)} are installed" if named else "none is set"


if __name__ == "__main__":
    with startup.ending_when_impossible():
        for found in run_checks(from_environment()):
            print(json.dumps(found), flush=True)
