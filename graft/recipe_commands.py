"""Command line of recipes: `graft recipes check` tells what a job would do and cost, without starting one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graft import completion, recipes
from graft.terminal import AsJson, Url, connect, print_json, say, show

if TYPE_CHECKING:
    from graft.record import Fields

app = typer.Typer(no_args_is_help=True, help="Recipes: the choices of a training.")


BACKBONES = typer.Option(
    "--backbone",
    help="Name of a pretrained backbone, see graft backbones; with a quality, several times.",
    autocompletion=completion.complete_backbones,
)
"""Option of the backbones that a recipe trains."""


@app.callback()
def _group() -> None:
    """Keep `check` a command of its own, though it is the only one."""


@app.command()
def check(
    recipe: Annotated[Path | None, typer.Argument(help="A JSON or YAML file; without one, the empty recipe.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A field, as in optimizer.kind=nesterov; several times.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Id of a dataset, ds_…")] = None,
    backbones: Annotated[list[str] | None, BACKBONES] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Check a recipe without starting a job; ends with 1 if a job would be refused."""
    with connect(url) as client:
        chosen = recipes.build_recipe(recipe, settings or [])
        found = client.check_recipe(chosen, dataset=dataset, **(name_backbones(backbones) if backbones else {}))
    if as_json:
        print_json(found)
        return
    rows = [{**one, "fields": _join(one["fields"])} for one in found["techniques"]]
    show(rows, ("loc", "kind", "fields"), as_json=False)
    for line in describe_costs(found["costs"]):
        say(line)
    for warning in found["warnings"]:
        say(f"Note {warning['loc'].removeprefix('body.')}: {warning['msg']}")


def name_backbones(named: list[str]) -> dict[str, Any]:
    """Name one backbone, or several, in a call of the client."""
    return {"backbone": named[0]} if len(named) == 1 else {"backbones": named}


def describe_costs(costs: Fields) -> list[str]:
    """Describe what is known of a job's costs, in lines."""
    lines = []
    if costs["cut"] is not None:
        below, above = (f"{costs[name] / 1e6:,.0f} million" for name in ("multiply_adds_below", "multiply_adds_above"))
        lines.append(f"Cut at {costs['cut']}: {below} multiply-adds for an image below, {above} above")
    if costs["least_views"] is not None:
        views = _range(costs["least_views"], costs["most_views"], "{}")
        lines.append(f"{costs['images']} images, training images in {views} views")
    if costs["most_cache_bytes"] is not None:
        cached = _range(costs["least_cache_bytes"] / 1e6, costs["most_cache_bytes"] / 1e6, "{:,.1f}")
        lines.append(f"Features: {cached} MB in the cache")
    if costs["most_seconds"] is not None:
        lines.append(f"Computing them: {_range(costs['least_seconds'], costs['most_seconds'], '{:,.0f}')} s")
    return lines


def _range(least: float | None, most: float, form: str) -> str:
    high = form.format(most)
    low = "up" if least is None else form.format(least)
    return low if low == high else f"{low} to {high}"


def _join(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields.items() if not isinstance(value, dict | list))
