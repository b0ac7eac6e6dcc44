"""Hooks of mkdocs for the guide: scripts inside pages become files, as their policy asks; marks of snippets are shown.

mkdocs calls them by their names (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

NOT_RUN = r"<!-- not run: (.+?) -->"
"""The mark of a snippet that no test runs, with the reason."""
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show why a snippet is not run by the tests."""
    return re.sub(NOT_RUN, r'<p class="not-run">Not run by the tests: \1.</p>', markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show `\\|` in the code of a table's cell as GitHub does, without the backslash."""
    return re.sub(r"<td[^>]*>.*?</td>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.DOTALL)


def on_post_page(output: str, page: Any, config: MkDocsConfig) -> str:
    """Move the scripts of a page into files beside the theme's own."""
    folder = Path(config.site_dir) / "assets" / "javascripts"
    up = "../" * page.url.count("/")

    def write(script: re.Match[str]) -> str:
        name = f"inline.{hashlib.sha256(script[1].encode()).hexdigest()[:16]}.js"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(script[1], encoding="utf-8")
        return f'<script src="{up}assets/javascripts/{name}"></script>'

    return INLINE_SCRIPT.sub(write, output)


def on_post_template(output: str, template_name: str, **_: Any) -> str:
    """Leave out the theme's page for errors, in whose place the service has its own."""
    return "" if template_name == "404.html" else output
