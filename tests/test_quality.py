"""Rules of the repository that no linter checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.repository import FILES, ROOT, SOURCES, TREES, relative

TEXTS = [
    path
    for path in FILES
    if path.suffix not in {".safetensors", ".png", ".csv", ".webp", ".zip", ".npz", ".tflite", ".keras", ".h5"}
]


def imported(node: ast.AST) -> set[str]:
    """Find the top-level packages that a statement imports, or the attribute of a module that an expression names."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return {f"{node.value.id}.{node.attr}"}
    return set()


def test_no_pickle_in_or_out() -> None:
    pickles = {"pickle", "joblib", "dill", "marshal", "shelve", "torch.load", "torch.save"}
    ours = [path for path in SOURCES if not relative(path).startswith("tests/")]
    found = {relative(path) for path in ours for node in ast.walk(TREES[path]) if imported(node) & pickles}
    assert found == {"models/backbones/torch_file.py"}


def test_a_file_of_torch_is_opened_as_tensors_alone() -> None:
    (load,) = [
        node
        for node in ast.walk(TREES[ROOT / "models/backbones/torch_file.py"])
        if isinstance(node, ast.Call) and imported(node.func) == {"torch.load"}
    ]
    assert {key.arg: ast.literal_eval(key.value) for key in load.keywords}["weights_only"] is True


def test_every_module_says_what_it_is() -> None:
    named = [path for path in SOURCES if not path.match("migrations/versions/*")]
    assert [relative(path) for path in named if not ast.get_docstring(TREES[path])] == []


def test_every_module_stays_short() -> None:
    assert [relative(path) for path, source in SOURCES.items() if len(source.splitlines()) > 330] == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = {}
    for path in TEXTS:
        text = path.read_text()
        homes = re.findall(r"(?<![\w.$}])/(?:home|root|work|Users)/\w+", text)
        registries = re.findall(r"https?://\S*(?:pypi|npmjs|artifactory|files\.pythonhosted)\S*", text)
        if homes + registries:
            found[relative(path)] = homes + registries
    assert found == {}


def find_test_imports(tree: ast.Module) -> set[str]:
    """Find the modules of tests that a module imports, but for those of tests.support."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("tests.") and not name.startswith("tests.support")}


def test_no_test_module_is_imported() -> None:
    """Helpers that several tests share stand in tests/support."""
    found = {relative(path): names for path, tree in TREES.items() if (names := find_test_imports(tree))}
    assert found == {}


def find_mirrored_names(test: Path) -> set[str]:
    """Find what a test module may be named for: the mirrored folder, and the modules and folders in it."""
    folder = ROOT / test.relative_to(ROOT / "tests").parent
    inside = (path.relative_to(folder) for path in SOURCES if path.is_relative_to(folder))
    return {folder.name} | {path.with_suffix("").parts[0] for path in inside}


WITHOUT_A_MODULE = (ROOT / "tests", ROOT / "tests" / "e2e")
"""Folders whose tests mirror no module: those of the repository as a whole, and of running services."""


def test_every_test_module_mirrors_a_module() -> None:
    """tests/ROOM/test_NAME.py is named for ROOM/NAME.py, the folder ROOM/NAME or ROOM itself; a suffix may follow."""
    tests = [path for path in SOURCES if path.name.startswith("test_") and path.is_relative_to(ROOT / "tests")]
    found = [
        relative(path)
        for path in tests
        if path.parent not in WITHOUT_A_MODULE
        and not any(f"{path.stem}_".startswith(f"test_{name}_") for name in find_mirrored_names(path))
    ]
    assert found == []


def stated_default(cell: str) -> object:
    """Parse the default that a cell of docs/settings.md states: a value, a size, a place in GRAFT_DATA, or none."""
    if cell == "none":
        return None
    if size := re.fullmatch(r"(\d+) ([MGT])iB", cell):
        return int(size[1]) << {"M": 20, "G": 30, "T": 40}[size[2]]
    if re.fullmatch(r"(SQLite|folder) in `GRAFT_DATA`", cell):
        return "in GRAFT_DATA"
    value = re.fullmatch(r"`(\S+)`", cell)
    assert value, f"{cell} states no default"
    return value[1]


GUIDE = [
    path
    for path in FILES
    if path.suffix == ".md" and (path == ROOT / "README.md" or path.is_relative_to(ROOT / "docs"))
]
"""The README and the pages of the guide."""
DERIVED = {"database_url": "database", "storage_url": "storage", "cache_dir": "cache"}
"""Settings that are a place in GRAFT_DATA where they are not given, and the property that gives it."""


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_page_of_settings_has_every_one_with_its_default(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `GRAFT_{name.upper()}` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    assert row, f"GRAFT_{name.upper()} is missing"
    stated, default = stated_default(row[1]), Settings.model_fields[name].default
    if stated == "in GRAFT_DATA":
        assert not default
        assert str(tmp_path) in str(getattr(Settings(data=tmp_path), DERIVED[name]))
    elif stated is None:
        assert default in ("", None)
        assert name not in DERIVED
    elif isinstance(stated, int):
        assert default == stated
    elif isinstance(default, Path):
        assert Path(str(stated)) == default
    else:
        assert type(default)(stated) == default
    assert row[2]


def test_the_guide_names_no_setting_that_does_not_exist() -> None:
    named = {name for page in GUIDE for name in re.findall(r"GRAFT_([A-Z_]+)", page.read_text(encoding="utf-8"))}
    of_others = {"URL", "API_KEY", "MATERIAL"}  # those of the client, and of the tests
    assert named <= of_others | {name.upper() for name in Settings.model_fields}


def test_every_make_target_in_the_guide_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in GUIDE for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test", "up"} <= named
    assert named <= targets


PACKAGES = ("graft", "service", "workers", "predictor", "models")
"""Packages that docs/tree.md lists module by module."""


def read_tree(text: str) -> list[str]:
    """Read the paths of the tree: two spaces a level, a folder ends with a slash."""
    block = re.search(r"^```\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert block, "the page has no tree"
    paths: list[str] = []
    folders: list[str] = []
    for line in block[1].splitlines():
        entry = re.fullmatch(r"((?:  )*)(\S+)  *\S.*", line)
        assert entry, f"{line!r} does not describe a file"
        folders = folders[: len(entry[1]) // 2]
        paths.append("".join([*folders, entry[2]]))
        if entry[2].endswith("/"):
            folders.append(entry[2])
    return paths


def test_the_tree_lists_every_module_and_nothing_that_does_not_exist() -> None:
    listed = read_tree((ROOT / "docs" / "tree.md").read_text(encoding="utf-8"))
    assert len(listed) == len(set(listed))
    assert [path for path in listed if not (ROOT / path).exists()] == []
    modules = [path for path in SOURCES if relative(path).startswith(tuple(f"{package}/" for package in PACKAGES))]
    # A package's __init__.py is described by the line of its folder.
    expected = {relative(path).removesuffix("__init__.py") for path in modules}
    assert expected - set(listed) == set()


def test_the_readme_links_every_page_of_the_documentation() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [relative(page) for page in GUIDE if page.name not in ("README.md", "index.md")]
    assert pages
    assert [page for page in pages if f"]({page})" not in text] == []


def test_the_readme_is_a_screen_before_its_links() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert next(number for number, line in enumerate(lines) if line.startswith("- **")) <= 45


@pytest.mark.parametrize("page", GUIDE, ids=relative)
def test_pages_name_only_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:graft|service|workers|models|tools|tests|benchmarks|faults)/[\w./]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_state_diagram_is_that_of_the_life_cycle() -> None:
    docstring = ast.get_docstring(TREES[ROOT / "service" / "jobs" / "lifecycle.py"]) or ""
    diagram = re.search(r"^    paused.*?cancelling$", docstring, re.MULTILINE | re.DOTALL)
    assert diagram
    assert f"```\n{diagram[0]}\n```" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
