"""Banned words: names, phrases and docstring openings that readers of the field do not search for."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.repository import FILES, SOURCES, TREES, relative

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HISTORY = ("migrations/versions/*", "tests/migrations/*", "tests/test_words.py")
"""Files that name old values for good: migrations, their tests, and this list."""

BANNED_NAMES = {
    "Assignment": "TrainingSpec",
    "Delivery": "merge_head",
    "Descent": "TrainStep",
    "Division": "CutNetwork",
    "Doctor": "Diagnostics",
    "Examples": "Subset",
    "Features": "CachedFeatures",
    "Grafted": "TrainableModel",
    "Growth": "ViewSchedule",
    "LEAVE": "DRAIN",
    "Limit": "StopCondition",
    "Listed": "the thing that is listed: CheckpointPage, BackboneListing, …",
    "Parts": "MicroBatches, Splits, or whichever parts they are",
    "Place": "CandidateCut for a cut; index or position else",
    "Pooled": "FeatureNetwork",
    "Rendered": "RenderedImages",
    "Secured": "ProgressSaved",
    "Securing": "Snapshotter",
    "Space": "FeatureStore, SearchSpace",
    "Tally": "EpochTotals",
    "TrainingOrder": "TrainingSpec",
    "UNWANTED": "INTERRUPTING",
    "Unwanted": "Interrupted",
    "batch_halved": "micro_batches",
    "beat": "heartbeat",
    "descend": "step",
    "discharge": "final_findings",
    "divided": "cut_at",
    "feel": "record_gradients",
    "first_head": "lda_initialized",
    "handed_back": "drained",
    "left_off": "interrupted",
    "not_secured": "snapshot_failed",
    "place_order": "create_job",
    "pooled": "cut_before_classifier",
    "said": "output, message, metadata, header, logits, …: whichever it is",
    "spelled_out": "expand, resolve",
    "taken_up": "resumed_from_snapshot",
    "turn": "claim_order",
    "views_left_out": "views_limited",
    "wish": "requested_state",
}
"""Whole identifiers, and strings that are names (event kinds, states), with what the field says instead."""

BANNED_PARTS = {
    "grafted": "trainable",
    "picture": "image",
    "pictures": "images",
    "pulse": "heartbeat",
    "securing": "snapshots",
    "unwanted": "interrupted",
}
"""Words that are banned in any identifier and in the name of any file, whatever they are joined with."""

BANNED_PHRASES = {
    r"\bpictures?\b": "image",
    r"\bgrafted\b": "trainable model",
    r"\b(?:take[ns]?|took|taking) up\b": "resume, start, adopt",
    r"\bhand(?:s|ed|ing)? back\b": "drain, return, release",
    r"\bleft off\b": "interrupted",
    r"\bleaves? off\b": "interrupt",
    r"\bpulse\b": "heartbeat",
    r"\bunwanted\b": "interrupted",
    r"\btally\b": "totals",
    r"\bdischarges?\b": "final findings",
    r"(?<!graft )(?<!`)\bdoctor\b(?!\.py)": "diagnostics",
    r"\bgone on with\b": "kept, continued",
    r"\bat one's pace\b": "gradually",
    r"\bspelled out\b": "explicit, resolved",
    r"\bso many\b": "this many, `count`",
    r"\bwhat is best so far\b": "the best epoch so far",
}
"""Regular expressions of prose (docstrings, comments, messages, Markdown), with what to write instead."""

BANNED_OPENINGS = (
    "All of ",
    "All that ",
    "As ",
    "Both",
    "How ",
    "Of ",
    "Of, ",
    "One of ",
    "So ",
    "So that ",
    "That ",
    "The same",
    "Those ",
    "What ",
    "What's ",
    "When ",
    "Where ",
    "Whether ",
    "Which ",
    "Who ",
    "Whoever ",
    "Whose ",
    "With which ",
)
"""Beginnings of docstrings that hide the term that a reader searches for."""


def is_history(path: Path) -> bool:
    """Tell whether a file names old values for good."""
    return any(fnmatch(relative(path), glob) for glob in HISTORY)


CHECKED = {path: source for path, source in SOURCES.items() if not is_history(path)}
PAGES = {path: path.read_text(encoding="utf-8") for path in FILES if path.suffix == ".md"}


def find_identifiers(source: str, tree: ast.Module) -> set[str]:
    """Find all identifiers of a Python source, and all strings in it that could be names."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return names | {value for value in strings if isinstance(value, str) and value.isidentifier()}


def split_words(identifier: str) -> list[str]:
    """Split snake_case and CamelCase into lower-case words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().split("_")


def find_banned_names(identifiers: Iterable[str]) -> set[str]:
    """Find banned identifiers, each with its replacement."""
    found = set()
    for name in identifiers:
        bare = name.strip("_")
        if bare in BANNED_NAMES:
            found.add(f"{name}: {BANNED_NAMES[bare]}")
        found |= {f"{name}: {BANNED_PARTS[word]}" for word in split_words(name) if word in BANNED_PARTS}
    return found


def extract_prose(source: str, tree: ast.Module) -> Iterator[str]:
    """Extract comments, docstrings and messages from a Python source."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def find_banned_phrases(prose: Iterable[str]) -> set[str]:
    """Find banned phrases, each with what to write instead."""
    text = re.sub(r"\s+", " ", "\n".join(prose))
    return {
        f"{match[0]}: {instead}"
        for phrase, instead in BANNED_PHRASES.items()
        for match in re.finditer(phrase, text, re.IGNORECASE)
    }


def list_public_docstrings(tree: ast.Module) -> Iterator[str]:
    """List the docstrings of a module, its public classes and its public functions and methods."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_"):
            continue
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.Module | ast.ClassDef):
            pending += node.body


def find_banned_openings(tree: ast.Module) -> list[str]:
    """Find the first lines of public docstrings that open with a banned word."""
    docstrings = list_public_docstrings(tree)
    return [docstring.splitlines()[0] for docstring in docstrings if docstring.startswith(BANNED_OPENINGS)]


def list_offenders(found: dict[Path, Any]) -> dict[str, Any]:
    """List the files in which something was found."""
    return {relative(path): words for path, words in found.items() if words}


def test_no_banned_name() -> None:
    found = {
        path: find_banned_names({*find_identifiers(source, TREES[path]), *Path(relative(path)).with_suffix("").parts})
        for path, source in CHECKED.items()
    }
    assert list_offenders(found) == {}


def test_no_banned_phrase() -> None:
    sources = {path: find_banned_phrases(extract_prose(source, TREES[path])) for path, source in CHECKED.items()}
    pages = {path: find_banned_phrases([text]) for path, text in PAGES.items()}
    assert list_offenders({**sources, **pages}) == {}


def test_no_docstring_opens_with_a_banned_word() -> None:
    assert list_offenders({path: find_banned_openings(TREES[path]) for path in CHECKED}) == {}


def test_the_checks_find_what_they_look_for() -> None:
    source = (
        '"""What it is."""\nclass PictureSpace:\n    "The same."\n\ndef wish():\n    # taken\n    return "left off"\n'
    )
    tree = ast.parse(source)
    assert find_banned_names(find_identifiers(source, tree)) == {"PictureSpace: image", "wish: requested_state"}
    assert find_banned_phrases(extract_prose(source, tree)) == {"left off: interrupted"}
    assert sorted(find_banned_openings(tree)) == ["The same.", "What it is."]
    assert find_banned_names(["heartbeat", "first_head_weights", "endings", "spaces"]) == set()
    assert find_banned_phrases(["`graft doctor` checks an installation"]) == set()
