"""Errors of predictions; the API passes their code and message on."""

from __future__ import annotations

NO_MEMORY = {
    "code": "out_of_memory",
    "message": "The machine's memory is short. Send fewer or smaller images, or ask again later.",
}
"""What a MemoryError becomes: the error of one image, or with status 503 that of a request."""


class PredictionFailed(Exception):
    """A request cannot be answered: `status` and `code` are those of the API's problem."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class ModelUnloadable(PredictionFailed):
    """A checkpoint cannot be loaded on this machine."""

    def __init__(self, checkpoint: str, reason: object) -> None:
        detail = f"{checkpoint} cannot be loaded by the predictor: {reason}"
        super().__init__(422, "model_unloadable", detail)
