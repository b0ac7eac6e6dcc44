"""Command line of jobs: train, watch, compare, and the state of each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer

from graft import completion, inputs, recipes
from graft.dataset_upload import upload_dataset
from graft.errors import DownloadDamaged
from graft.progress import draw_sparkline, follow
from graft.recipe_commands import BACKBONES, name_backbones
from graft.terminal import (
    INTERRUPTED,
    UNREACHABLE,
    UNSUCCESSFUL,
    AsJson,
    Overwrite,
    Url,
    choose_console,
    connect,
    console,
    fail,
    print_json,
    say,
    show,
)

if TYPE_CHECKING:
    from rich.console import Console

    from graft.client import Client
    from graft.record import Fields
    from graft.results.jobs import Candidate

JobId = Annotated[str, typer.Argument(help="Its id, job_….", autocompletion=completion.complete_jobs)]
Output = Annotated[Path, typer.Option(help="Where to put the checkpoint.")]
BEST = Path("best.safetensors")
COLUMNS = ("id", "status", "phase", "backbone", "dataset", "created_at")
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "map": "mean average precision",
    "constant_accuracy": "accuracy of always the same answer",
    "calibration_error": "calibration error",
}


def train(
    images: Annotated[str, typer.Argument(help="A folder or an archive, a folder for each class; or a dataset's id.")],
    backbones: Annotated[list[str], BACKBONES],
    recipe: Annotated[Path | None, typer.Option(help="A JSON or YAML file.")] = None,
    quality: Annotated[
        str | None, typer.Option(help="fast, balanced or best: how much time to take for accuracy.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the recipe, as in optimizer.kind=nesterov; may be given several times."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    publish: Annotated[str | None, typer.Option(help="Name of a model that the checkpoint becomes.")] = None,
    output: Output = BEST,
    overwrite: Overwrite = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start the job and return; graft watch follows it.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload images, train, and download the checkpoint. The same command continues an upload that was cut off."""
    with connect(url) as client:
        chosen = recipes.build_recipe(recipe, [*(settings or []), *([f"quality={quality}"] if quality else [])])
        found = inputs.parse_images(images)
        if not detach:
            inputs.check_output(output, overwrite=overwrite)
        named = name_backbones(backbones)
        client.check_recipe(chosen, dataset=found if isinstance(found, str) else None, **named)
        where = choose_console(as_json)
        dataset = found if isinstance(found, str) else upload_dataset(client, found, where).id
        job: Fields = client.create_job(dataset, recipe=chosen, name=name, publish=publish, **named)
        say(f"Job {job['id']}", where)
        if not detach:
            job = _follow_to_end(client, job["id"], where)
            _download(client, job["checkpoints"][0], output)
            split = "validation" if job["metrics"]["test"] is None else "test"
            say(f"{output}: {split} {_describe_metrics(job['metrics'][split])}", where)
        if as_json:
            print_json(job)


def watch(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Follow a job until it has ended; with --json, its events, a line each."""
    with connect(url) as client:
        if as_json:
            for event in client.events(job):
                print_json(event)
            _require_success(client.job(job))
            return
        say(f"Job {job}")
        say(f"Checkpoint {_follow_to_end(client, job, console)['checkpoints'][0]}")


def logs(
    job: JobId,
    level: Annotated[str, typer.Option(help="Least level: debug, info, warning or error.")] = "info",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print what has happened in a job so far; graft watch follows it."""
    levels = ("debug", "info", "warning", "error")
    if level not in levels:
        raise typer.BadParameter(f"{level} is none of {', '.join(levels)}.", param_hint="--level")
    wanted = levels[levels.index(level) :]
    with connect(url) as client:
        for event in client.list_events(job):
            if event.level not in wanted:
                continue
            if as_json:
                print_json(event)
            else:
                say(f"{event['time'][:19].replace('T', ' ')} {event.level:<7} {event.message}")


def jobs(status: str | None = None, url: Url = None, as_json: AsJson = False) -> None:
    """List jobs, newest first."""
    with connect(url) as client:
        rows = list(client.jobs(**({"status": status} if status else {})))
    show(rows, COLUMNS, as_json)


def job(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show one job: its state and results."""
    with connect(url) as client:
        found = client.job(job)
        if as_json:
            print_json(found)
            return
        for line in describe_job(found, [epoch.validation_accuracy for epoch in client.metrics(job)]):
            say(line)


def trials(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """List the heads that a job's search has tried, the best first."""
    with connect(url) as client:
        rows = client.trials(job)
    show(rows, ("lr", "l2", "dropout", "epoch", "epochs", "validation_loss", "validation_accuracy"), as_json)


def candidates(
    job: JobId,
    deliver: Annotated[int | None, typer.Option(help="Number of one to deliver by a job of its own.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes that a job with a quality has tried, or deliver one of them."""
    with connect(url) as client:
        found = client.candidates(job)
        if deliver is not None:
            chosen = next((one for one in found if one.number == deliver), None)
            if chosen is None:
                raise typer.BadParameter(f"There is no candidate {deliver}.", param_hint="--deliver")
            row = client.job(job)
            made = client.create_job(row.dataset, chosen.backbone, chosen.recipe, f"{row.name or job}: {chosen.name}")
            print_json(made) if as_json else say(f"Job {made.id}")
            return
    rows = found if as_json else [_describe_candidate(one) for one in found]
    show(rows, ("number", "name", "backbone", "validation", "loss", "epochs", "seconds", "MB", "ms", "is"), as_json)


def compare(
    jobs: Annotated[list[str], typer.Argument(help="Ids, job_….", autocompletion=completion.complete_jobs)],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Compare jobs: their results, and the fields in which their recipes differ."""
    with connect(url) as client:
        found = client.compare_jobs(jobs)
    if as_json:
        print_json(found)
        return
    splits = [split for split in ("validation", "test") if any(job.metrics.get(split) for job in found.data)]
    rows = [
        {
            "id": job.id,
            "status": job.status,
            **{split: _format_main_metric(job.metrics.get(split) or {}) for split in splits},
            "seconds": f"{sum(job.seconds.values()):.0f}",
            **{field: _format_value(values[place]) for field, values in found.differences.items()},
        }
        for place, job in enumerate(found.data)
    ]
    show(rows, tuple(rows[0]), as_json=False)
    if "test" in splits and not found.same_test_images:
        say("Their test images differ, so that their test accuracies cannot be compared.")


def cancel(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Cancel a job."""
    with connect(url) as client:
        _show_status(client.cancel(job), as_json)


def pause(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Pause a job until it is resumed."""
    with connect(url) as client:
        _show_status(client.pause(job), as_json)


def stop(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Stop a running job now and keep its best epoch."""
    with connect(url) as client:
        _show_status(client.stop(job), as_json)


def resume(job: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Resume a paused job."""
    with connect(url) as client:
        _show_status(client.resume(job), as_json)


def download(
    checkpoint: Annotated[str, typer.Argument(help="Its id, ckpt_….")],
    output: Output = BEST,
    overwrite: Overwrite = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Download a checkpoint, and the Python source of its network where no library builds it."""
    with connect(url) as client:
        inputs.check_output(output, overwrite=overwrite)
        found = client.checkpoint(checkpoint)
        if any(artifact.format == "python" for artifact in found.artifacts):
            inputs.check_output(output.with_suffix(".py"), overwrite=overwrite)
        path = client.download(checkpoint, output)
    if as_json:
        print_json({**found, "path": str(path)})
    else:
        say(str(path))


def describe_job(job: Fields, accuracies: list[float]) -> list[str]:
    """Describe a job in lines, with a sparkline of the validation accuracy of its epochs."""
    state = f"{job['status']} ({job['stop_reason']})" if job["stop_reason"] else job["status"]
    lines = [f"{job['id']}: {state}", f"{job['backbone']} on {job['dataset']}"]
    if job["backbones"][1:]:
        lines.append(f"backbones named: {', '.join(job['backbones'])}")
    if job["status"] == "running":
        lines.append(f"{job['phase']}, {job['progress']['percent']:.0f}%")
    if job["waiting_for"]:
        lines.append(f"waiting for {job['waiting_for']}")
    if accuracies:
        lines.append(f"validation accuracy {draw_sparkline(accuracies)} {accuracies[-1]:.1%} after the last epoch")
    for split in ("validation", "test"):
        if found := (job["metrics"] or {}).get(split):
            lines.append(f"{split} {_describe_metrics(found)}")
    lines += [f"checkpoint {checkpoint}" for checkpoint in job["checkpoints"]]
    return [*lines, job["error"]["message"]] if job["error"] else lines


def _describe_metrics(metrics: dict[str, Any]) -> str:
    """Describe the metrics of one split in a line; a service of an older release lacks some."""
    return ", ".join(f"{name} {metrics[key]:.1%}" for key, name in METRICS.items() if metrics.get(key) is not None)


def _format_main_metric(metrics: dict[str, float]) -> str:
    value = metrics.get("accuracy", metrics.get("map"))
    return "" if value is None else f"{value:.1%}"


def _describe_candidate(found: Candidate) -> dict[str, Any]:
    """Describe a candidate in the words of a table."""
    accuracy, latency = found.validation_accuracy, found.seconds_per_image
    tried = "best" if found.is_best else "on the Pareto front" if found.is_pareto else "tried"
    return {
        "number": found.number,
        "name": found.name,
        "backbone": found.backbone,
        "validation": accuracy and f"{accuracy.share:.1%} ({accuracy.low:.1%}–{accuracy.high:.1%})",
        "loss": None if found.validation_loss is None else f"{found.validation_loss:.3f}",
        "epochs": found.epochs,
        "seconds": f"{found.seconds:.0f}",
        "MB": found.checkpoint_bytes and f"{found.checkpoint_bytes / 1e6:.1f}",
        "ms": latency and f"{1000 * latency:.1f}",
        "is": tried if found.reason is None else f"left out: {found.reason}",
    }


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_format_value(one)}" for name, one in value.items())
    return "" if value is None else str(value)


def _show_status(job: Fields, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        say(job["status"])


def _follow_to_end(client: Client, job: str, where: Console) -> Fields:
    """Show a job until it has ended; fails unless it has succeeded."""
    try:
        ended = follow(partial(client.job, job), client.events(job), where)
    except KeyboardInterrupt:
        fail(f"The job goes on. Watch it with `graft watch {job}`, end it with `graft cancel {job}`.", INTERRUPTED)
    except httpx.TransportError as error:
        fail(f"The service does not answer ({error}). Watch the job later: graft watch {job}", UNREACHABLE)
    return _require_success(ended)


def _require_success(job: Fields) -> Fields:
    """Fail unless a job has succeeded."""
    if job["status"] != "succeeded":
        fail((job["error"] or {}).get("message", f"The job was {job['status']}."), UNSUCCESSFUL)
    return job


def _download(client: Client, checkpoint: str, output: Path) -> None:
    """Download a checkpoint; where that fails, say how to do it later."""
    later = f"graft download {checkpoint} --output FILE"
    try:
        client.download(checkpoint, output)
    except (OSError, httpx.TransportError, DownloadDamaged) as error:
        fail(f"The checkpoint could not be put at {output} ({error}). The service keeps it: {later}")
    except KeyboardInterrupt:
        fail(f"The download was cut off. Continue it: graft download {checkpoint} --output {output}", INTERRUPTED)
