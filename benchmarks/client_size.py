"""Install the client alone into an empty environment: what it downloads, takes on the disk, and takes to import."""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).parents[1]
IMPORTS = ("import graft", "from graft import Client", "import graft.cli")
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def install(folder: Path) -> Path:
    """Install the last commit without extras into a new environment; gives its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    source = folder / "source"  # a copy, since building writes beside it
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(source, filter="data")
    arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(source)]
    subprocess.run([str(python), *arguments], check=True)
    return python


def list_sizes(folder: Path) -> dict[str, int]:
    """List the bytes of each package of an environment, without pip and caches of bytecode."""
    (packages,) = folder.glob("lib/python*/site-packages")
    sizes: dict[str, int] = {}
    for file in packages.rglob("*"):
        top = file.relative_to(packages).parts[0].partition("-")[0]
        if file.is_file() and "__pycache__" not in file.parts and top not in ("pip", "setuptools"):
            sizes[top] = sizes.get(top, 0) + file.stat().st_size
    return sizes


def time_import(python: Path, statement: str, runs: int) -> list[float]:
    """Time a statement in new processes, after one that fills caches."""
    command = [str(python), "-c", TIMED.format(statement)]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(runs + 1)]
    return times[1:]


def main() -> None:
    """Print the figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    chosen = parser.parse_args()
    print(f"{describe()}\n")
    with tempfile.TemporaryDirectory() as name:
        python = install(Path(name))
        sizes = list_sizes(Path(name))
        print(f"{len(sizes)} packages, {sum(sizes.values()) / 1e6:.1f} MB without bytecode; the largest:")
        for package, size in sorted(sizes.items(), key=lambda item: -item[1])[:5]:
            print(f"- {package} {size / 1e6:.1f} MB")
        print("\n| statement | seconds, median | least | greatest |\n|---|---|---|---|")
        for statement in IMPORTS:
            times = time_import(python, statement, chosen.runs)
            print(f"| `{statement}` | {statistics.median(times):.3f} | {min(times):.3f} | {max(times):.3f} |")


if __name__ == "__main__":
    main()
