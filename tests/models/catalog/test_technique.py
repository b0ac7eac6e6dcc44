"""Tests that hold for every technique; a new member of a family is tested by being one."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import ValidationError

from models import catalog
from models.catalog.backbone_pretraining import BackboneMethod
from models.catalog.families import FAMILIES
from models.catalog.recipe import Recipe, ResolvedRecipe
from models.catalog.technique import StrictModel, Technique, members
from tests.support.recipe_variants import DATA, NAMES, TECHNIQUES, example, placed, recipe_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[3]
TESTS = Path(__file__).parents[1]
MODULES = [import_module(f"models.catalog.{module.name}") for module in iter_modules(catalog.__path__)]
OF_SEVERAL = [family for family, union in FAMILIES.items() if len(members(union)) > 1]

every_technique = pytest.mark.parametrize(("family", "technique"), TECHNIQUES, ids=NAMES)
every_family_of_several = pytest.mark.parametrize("family", OF_SEVERAL)


def get_kind(technique: type[Technique]) -> str:
    """Return the name by which a recipe chooses a technique."""
    return str(technique.model_fields["kind"].default)


@every_technique
def test_survives_json(family: str, technique: type[Technique]) -> None:
    value = example(technique)
    assert technique.model_validate_json(value.model_dump_json()) == value


@every_technique
def test_survives_json_in_a_recipe(family: str, technique: type[Technique]) -> None:
    recipe = Recipe.model_validate(recipe_with(family, technique))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert example(technique).model_dump_json() in recipe.model_dump_json()


@every_technique
def test_takes_no_field_that_it_does_not_have(family: str, technique: type[Technique]) -> None:
    given = {**example(technique).model_dump(), "no_such_field": 1}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        technique.model_validate(given)


@every_technique
def test_cannot_be_changed(family: str, technique: type[Technique]) -> None:
    value = example(technique)
    for name in technique.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, name, None)


@every_technique
def test_documents_each_field(family: str, technique: type[Technique]) -> None:
    for name, field in technique.model_fields.items():
        assert name == "kind" or field.description, f"{technique.__name__}.{name}"


@every_technique
def test_gives_its_formula_or_its_source_with_the_year(family: str, technique: type[Technique]) -> None:
    docstring = technique.__doc__ or ""
    assert re.search(r"\([A-Z][^()]*\b(19|20)\d\d\b[^()]*\)|[←=·≤≥~]", docstring), technique.__name__


@every_technique
def test_is_proved_by_the_test_of_its_file(family: str, technique: type[Technique]) -> None:
    name = technique.__module__.rpartition(".")[2]
    paths = [*TESTS.rglob(f"test_{name}.py"), *TESTS.glob(f"{name}/test_*.py")]
    proofs = [path.read_text() for path in paths]
    if "kind" in technique.model_fields:
        names = rf"\b{technique.__name__}\b|\"{get_kind(technique)}\""
        assert any(re.search(names, proof) for proof in proofs), (
            f"no test named after {name} tests {technique.__name__}"
        )


@every_technique
def test_resolving_leaves_no_auto_but_what_is_tried(family: str, technique: type[Technique]) -> None:
    resolved = Recipe.model_validate(recipe_with(family, technique)).resolve(**DATA)
    assert resolved.optimizer.lr == "auto"
    written = resolved.model_dump_json()
    assert '"auto"' not in written.replace('"lr":"auto"', "")
    assert '"same"' not in written
    assert Recipe.model_validate_json(written).model_dump_json() == written
    assert ResolvedRecipe.model_validate_json(written) == resolved
    assert resolved.resolve(**DATA) == resolved, "what is resolved stays as it is"


@every_technique
def test_values_beyond_a_range_are_refused(family: str, technique: type[Technique]) -> None:
    check_ranges(technique)


def test_values_of_a_recipe_beyond_a_range_are_refused() -> None:
    check_ranges(Recipe)


def check_ranges(technique: type[Technique]) -> None:
    """Check that every value just outside a bound of the JSON Schema is refused, for that reason."""
    schema = technique.model_json_schema()
    assert list(find_unbounded(schema)) == []
    for given in generate_out_of_range(schema, schema.get("$defs", {})):
        with pytest.raises(ValidationError) as refused:
            technique.model_validate(given)
        reasons = {error["type"] for error in refused.value.errors()}
        assert any(reason.startswith(("greater_than", "less_than", "too_", "finite")) for reason in reasons), given


def generate_out_of_range(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[Any]:
    """Generate JSON with one number out of its range, for both ends of each range in the schema."""
    for branch in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from generate_out_of_range(branch, defs)
    if "$ref" in schema:
        yield from generate_out_of_range(defs[schema["$ref"].rpartition("/")[2]], defs)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from ({"a": value} for value in generate_out_of_range(schema["additionalProperties"], defs))
    if "items" in schema:
        yield from ([value] for value in generate_out_of_range(schema["items"], defs))
    properties = schema.get("properties", {})
    needed = {name: properties[name]["examples"][0] for name in schema.get("required", ())}
    kind = {"kind": properties["kind"]["const"]} if "kind" in properties else {}
    for name, of_field in properties.items():
        yield from ({**kind, **needed, name: value} for value in generate_out_of_range(of_field, defs))
    yield from generate_numbers_out_of_range(schema)


def generate_numbers_out_of_range(schema: Mapping[str, Any]) -> Iterator[float]:
    """Generate numbers outside the bounds of a schema of numbers."""
    if schema.get("type") in ("number", "integer"):
        for bound, distance in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
            if bound in schema:
                yield schema[bound] + distance * max(1, abs(schema[bound]) // 100)
        if schema["type"] == "number":
            yield from (math.inf, -math.inf, math.nan)


def find_unbounded(schema: Any) -> Iterator[Any]:
    """Find the numbers of a schema that lack a lower or an upper bound."""
    if isinstance(schema, dict) and schema.get("type") in ("number", "integer"):
        if not (schema.keys() & {"minimum", "exclusiveMinimum"} and schema.keys() & {"maximum", "exclusiveMaximum"}):
            yield schema
    elif isinstance(schema, dict | list):
        for part in schema.values() if isinstance(schema, dict) else schema:
            yield from find_unbounded(part)


@every_technique
def test_its_kind_alone_is_the_technique_with_its_defaults(family: str, technique: type[Technique]) -> None:
    if any(field.is_required() for field in technique.model_fields.values()):
        pytest.skip("has no defaults")
    alone = get_kind(technique) if "kind" in technique.model_fields else {}
    assert Recipe.model_validate(placed(family, alone)) == Recipe.model_validate(recipe_with(family, technique))


@every_family_of_several
def test_kinds_of_a_family_differ(family: str) -> None:
    kinds = [get_kind(technique) for technique in members(FAMILIES[family])]
    assert len(set(kinds)) == len(kinds)


@every_family_of_several
def test_an_unknown_kind_is_answered_by_those_there_are(family: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate(placed(family, "no_such_kind"))
    for technique in members(FAMILIES[family]):
        assert f"'{get_kind(technique)}'" in str(refused.value)


@every_family_of_several
def test_fields_without_a_kind_are_those_of_the_default(family: str) -> None:
    chosen = Recipe.model_validate(placed(family, {}))
    (default,) = (t for t in members(FAMILIES[family]) if example(t).model_dump_json() in chosen.model_dump_json())
    assert chosen == Recipe.model_validate(recipe_with(family, default))


def test_every_class_with_a_kind_is_a_member_of_a_family_or_pretrains_backbones() -> None:
    written = {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Technique) and "kind" in value.model_fields
    }
    of_recipes = {technique for _, technique in TECHNIQUES if "kind" in technique.model_fields}
    assert written == of_recipes | set(members(BackboneMethod))


def test_the_catalog_loads_no_torch() -> None:
    names = ", ".join(module.__name__ for module in MODULES)
    run = f"import sys, {names}; sys.exit(bool({{'torch', 'PIL', 'numpy', 'timm', 'scipy'}} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", run], check=True, cwd=ROOT)


class Sample(StrictModel):
    """A field of each kind."""

    count: int = 1
    share: float | Literal["auto"] = "auto"
    sizes: tuple[int, ...] = ()
    weights: dict[str, float] = {}
    flag: bool = False
    either: bool | int = 0
    text: str = ""
    inner: Sample | None = None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"count": True}, "count"),
        ({"share": False}, "share"),
        ({"sizes": [1, True]}, "sizes"),
        ({"weights": {"a": True}}, "weights"),
        ({"inner": {"count": True}}, "inner.count"),
    ],
)
def test_true_is_no_number(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate(given)
    (error,) = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == field
    assert "true and false are no numbers" in error["msg"]


def test_true_is_taken_where_it_may_be_and_numbers_in_every_spelling() -> None:
    sample = Sample.model_validate({"flag": True, "either": True, "inner": {"flag": False}, "share": 1, "count": "3"})
    assert (sample.flag, sample.either, sample.share, sample.count) == (True, True, 1.0, 3)


def test_an_unknown_field_is_answered_with_the_known_ones_at_its_place() -> None:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate({"inner": {"cuont": 1, "x{y}": 2}, "count": "{z}"})
    errors = {".".join(map(str, error["loc"])): error["msg"] for error in refused.value.errors()}
    assert errors.keys() == {"inner.cuont", "inner.x{y}", "count"}
    assert "did you mean count? the fields here are count, share, sizes" in errors["inner.cuont"]
    assert "did you mean" not in errors["inner.x{y}"]
    assert errors["count"].startswith("Input should be a valid integer")


@pytest.mark.parametrize("given", ["nestrov", {"kind": "nestrov"}])
def test_an_unknown_technique_is_answered_with_the_known_ones(given: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({"optimizer": given})
    (error,) = refused.value.errors()
    assert error["msg"].startswith("There is no 'nestrov'; did you mean nesterov? the kinds here are 'sgd', 'mom")
