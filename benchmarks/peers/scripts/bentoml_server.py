"""BentoML with one network: an image as a file of a form, one worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bentoml

sys.path.insert(0, str(Path(__file__).parent))
from served_network import ServedNetwork


@bentoml.service(workers=1, traffic={"timeout": 120})
class Classifier:
    """Image → its class."""

    def __init__(self) -> None:
        self.network = ServedNetwork(Path(os.environ["CHECKPOINT"]))

    @bentoml.api
    def predict(self, image: Path) -> dict:
        return self.network.predict(self.network.open(image.read_bytes()))


if __name__ == "__main__":
    command = [sys.executable, "-m", "bentoml", "serve", f"{Path(__file__).stem}:Classifier"]
    options = ["--host", "127.0.0.1", "--port", sys.argv[2], "--working-dir", str(Path(__file__).parent)]
    quiet = {"BENTOML_DO_NOT_TRACK": "true", "CHECKPOINT": sys.argv[1]}
    sys.exit(subprocess.call([*command, *options], env={**os.environ, **quiet}))
