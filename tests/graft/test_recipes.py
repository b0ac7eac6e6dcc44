"""Recipes from files and options: what can be sent, and what is refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from graft import recipes
from graft.errors import InputUnusable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("recipe", "setting", "becomes"),
    [
        ({}, "optimizer.kind=nesterov", {"optimizer": {"kind": "nesterov"}}),
        ({"optimizer": "adam"}, "optimizer.lr=1e-3", {"optimizer": {"kind": "adam", "lr": 0.001}}),
        ({"epochs": 3}, "epochs=10", {"epochs": 10}),
        ({}, "head.hidden=[64, 32]", {"head": {"hidden": [64, 32]}}),
        ({}, "early_stopping=null", {"early_stopping": None}),
        ({}, "engine=auto", {"engine": "auto"}),
        ({"regularizers": ["l2"]}, "regularizers.0.strength=0.1", {"regularizers": [{"kind": "l2", "strength": 0.1}]}),
        ({"augmentations": ["crop"]}, "augmentations.0=blur", {"augmentations": ["blur"]}),
        ({}, "cut.name=a=b", {"cut": {"name": "a=b"}}),
    ],
)
def test_a_setting_changes_one_field(recipe: dict[str, Any], setting: str, becomes: dict[str, Any]) -> None:
    recipes.apply_setting(recipe, setting)
    assert recipe == becomes


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("epochs", "write FIELD=VALUE"),
        ("=3", "write FIELD=VALUE"),
        ("a..b=3", "write FIELD=VALUE"),
        ("epochs.more=3", "epochs is 3, which has no fields"),
        ("regularizers.1=l1", "none of the places 0 to 0"),
        ("regularizers.x.y=l1", "none of the places 0 to 0"),
        ("augmentations.0=blur", "the list is empty; set it whole"),
        ("lr=NaN", "--set lr: the value cannot be sent"),
        ("lr=-Infinity", "--set lr: the value cannot be sent"),
        ("lr=1e999", "--set lr: the value cannot be sent"),
        ('optimizer={"lr": [NaN]}', "the value cannot be sent"),
        ('optimizer={"lr": 1, "lr": 2}', "a field stands twice"),
        ("name=\udcff", "the value cannot be sent"),
        (f"a={'[' * 100_000}", "the value cannot be sent"),
    ],
)
def test_a_setting_that_fits_nowhere_or_cannot_be_sent_is_refused(setting: str, says: str) -> None:
    with pytest.raises(InputUnusable, match=says):
        recipes.apply_setting({"epochs": 3, "regularizers": ["l2"], "augmentations": []}, setting)


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"optimizer": {"kind": "sgd", "lr": 0.1}, "regularizers": ["l2"], "epochs": 3}')
    (tmp_path / "a.yaml").write_text("# ours\noptimizer: {kind: sgd, lr: 0.1}\nregularizers:\n- l2\nepochs: 3\n")
    assert recipes.read_recipe(tmp_path / "a.yaml") == recipes.read_recipe(tmp_path / "a.json")
    (tmp_path / "empty.yml").write_text("# nothing\n")
    assert recipes.build_recipe(tmp_path / "empty.yml", ["epochs=3"]) == {"epochs": 3}
    assert recipes.build_recipe(None, []) == {}


@pytest.mark.parametrize(
    "text",
    [
        "base: &base {kind: sgd, lr: 0.1}\noptimizer:\n  <<: *base\n  lr: 0.2\n",
        "a: &a {lr: 0.2, z: 1}\nb: &b {lr: 0.3, k: 1}\nc:\n  <<: [*a, *b]\n  z: 9\n",
        "a: {x: &inner {<<: &z {k: 1}, k: 2}}\n<<: *inner\nb: *inner\n",
        "a: &a [1]\nb: *a\n",
    ],
)
def test_merge_keys_and_aliases_are_read_as_yaml_reads_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert recipes.read_recipe(tmp_path / "a.yaml") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs: 3\nepochs: 4", "a field stands twice"),
        ("head: {kind: mlp, kind: linear}", "a field stands twice"),
        ("a: [1", "line 1, column"),
        ("- a", "must be a JSON object"),
        ("when: 2026-01-01", "cannot be sent"),
        ("a: .nan", "cannot be sent"),
        ("a: !!python/object:os.system x", "is no YAML"),
        ("a: &b [*b]", "is no YAML|cannot be sent"),
        ("{[1]: 2}", "found unhashable key"),
        ("<<: 3", "is no YAML"),
        ("a: &a {k: 1}\nb:\n  <<: *a\n  k: 2\n  k: 3", "a field stands twice"),
        ("1: 2\n'1': 3", "a field stands twice"),
        ("- - {a: 1, a: 2}", "a field stands twice"),
    ],
)
def test_yaml_that_cannot_be_sent_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputUnusable, match=says) as caught:
        recipes.read_recipe(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_without_its_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("epochs: 3")
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(InputUnusable, match="graft\\[yaml\\]"):
        recipes.read_recipe(tmp_path / "a.yaml")
