"""Parts of generated files: the API's description, the schemas that it names, tables in Markdown, formatted code."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.app import create_app
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

Schema = dict[str, Any]


def describe_api() -> Schema:
    """Describe the API in OpenAPI's terms."""
    with tempfile.TemporaryDirectory() as folder:
        return create_app(Settings(data=Path(folder))).openapi()


def find_references(value: Any) -> set[str]:
    """Find the schemas that a part of the description names."""
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
        return own.union(*map(find_references, value.values()))
    return set().union(*map(find_references, value)) if isinstance(value, list) else set()


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def format_code(text: str, path: Path) -> str:
    """Format Python, or that of a page in Markdown, as `make check` asks for where it lies at this path."""
    sort_imports = [["check", "--fix", "--quiet", "--select", "I"]] if path.suffix == ".py" else []
    for arguments in (*sort_imports, ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(path), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text
