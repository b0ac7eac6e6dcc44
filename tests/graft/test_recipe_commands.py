"""Recipes on the command line, against a service of canned answers for what only a terminal shows."""

from __future__ import annotations

from typing import Any

from graft.recipe_commands import describe_costs

NOTHING = dict.fromkeys(
    (
        "images", "least_views", "most_views", "cut", "multiply_adds_below", "multiply_adds_above",
        "bytes_per_feature", "least_cache_bytes", "most_cache_bytes", "seconds_per_image", "least_seconds",
        "most_seconds",
    )
)  # fmt: skip


def test_costs_that_are_not_known_are_left_out() -> None:
    assert describe_costs(NOTHING) == []


def test_costs_are_told_in_lines() -> None:
    costs: dict[str, Any] = {
        **NOTHING,
        "images": 100,
        "least_views": 1,
        "most_views": 5,
        "cut": "global_pool",
        "multiply_adds_below": 299_000_000,
        "multiply_adds_above": 1_000_000,
        "least_cache_bytes": 250_000,
        "most_cache_bytes": 950_000,
        "least_seconds": 4.0,
        "most_seconds": 4.0,
    }
    assert describe_costs(costs) == [
        "Cut at global_pool: 299 million multiply-adds for an image below, 1 million above",
        "100 images, training images in 1 to 5 views",
        "Features: 0.2 to 0.9 MB in the cache",
        "Computing them: 4 s",
    ]


def test_a_budget_is_told_where_nothing_else_is_known() -> None:
    assert describe_costs({**NOTHING, "most_seconds": 1800.0}) == ["Computing them: up to 1,800 s"]
