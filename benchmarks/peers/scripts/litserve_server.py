"""LitServe with one network, which it computes as its examples do: an image in base64, one worker."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import litserve
from served_network import ServedNetwork


class Classifier(litserve.LitAPI):
    """Image in base64 → its class."""

    def setup(self, device: str) -> None:
        self.network = ServedNetwork(Path(sys.argv[1]))

    def decode_request(self, request: dict[str, str]) -> object:
        return self.network.open(base64.b64decode(request["image"]))

    def predict(self, x: object) -> object:
        return self.network.predict(x)

    def encode_response(self, output: object) -> object:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
