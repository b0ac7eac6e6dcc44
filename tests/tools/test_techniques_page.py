"""Documentation: the page is fresh and true, and CONTRIBUTING's example works as it stands."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from models.catalog import optimizers
from models.catalog.optimizers import Optimizer
from models.catalog.recipe import Recipe
from models.catalog.technique import Technique, members
from tests.support.optimizer_steps import agree
from tests.support.recipe_variants import NAMES, TECHNIQUES
from tools.techniques_page import PAGE, render_page

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


def blocks(text: str, language: str) -> list[str]:
    """The code in a page."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(), "docs/techniques.md is stale, run: make docs"


@pytest.mark.parametrize(("family", "technique"), TECHNIQUES, ids=NAMES)
def test_the_page_says_all_about_it(family: str, technique: type[Technique]) -> None:
    written = render_page()
    assert inspect.cleandoc(technique.__doc__ or "") in written
    for name, field in technique.model_fields.items():
        if name == "kind":
            assert f"\n### `{field.default}`\n" in written
        else:
            assert re.search(
                rf"^\| `{name}` \| .+ \| .+ \| {re.escape(' '.join(field.description.split()))} \|$", written, re.M
            )


def test_its_links_lead_to_its_headings() -> None:
    headings = {line[3:].lower().replace(" ", "-") for line in render_page().splitlines() if line.startswith("## ")}
    links = set(re.findall(r"\]\(#(.*?)\)", render_page()))
    assert links
    assert links <= headings


def test_its_recipe_is_valid() -> None:
    (example,) = blocks(render_page(), "json")
    recipe = Recipe.model_validate(json.loads(example))
    data: dict[str, Any] = {"image_size": 224, "num_features": 512, "class_counts": {"a": 90, "b": 90}, "images": 180}
    resolved = recipe.resolve(task="single_label", **data)
    assert '"auto"' not in resolved.model_dump_json()


def test_the_optimizer_of_contributing_can_be_added_as_it_says() -> None:
    section = CONTRIBUTING.read_text(encoding="utf-8").split("\n## Add a technique\n")[1].split("\n## ")[0]
    of_class, of_union, of_test = blocks(section, "python")
    names: dict[str, Any] = dict(vars(optimizers))
    exec(of_class, names)
    exec(of_union, names)
    assert members(names["Optimizer"]) == (*members(Optimizer), names["Adamax"])
    union: TypeAdapter[Any] = TypeAdapter(names["Optimizer"])
    assert union.validate_python("adamax") == names["Adamax"]()
    assert union.validate_python({"lr": 0.1}) == optimizers.Adam(lr=0.1)
    with pytest.raises(ValidationError, match="less than 1"):
        union.validate_python({"kind": "adamax", "beta1": 1.0})
    proof = {"Adamax": names["Adamax"], "agree": agree}
    exec(of_test, proof)
    proof["test_adamax_steps_as_its_formula_says"]()


def test_contributing_names_commands_and_files_that_exist() -> None:
    text, root = CONTRIBUTING.read_text(encoding="utf-8"), CONTRIBUTING.parent
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= set(targets)
    paths = re.findall(r"\b(?:models|service|workers|tests|docs)/[\w/-]+\.\w+", text)
    assert paths
    assert all((root / path).exists() for path in paths)
