"""Why a dataset is rejected as a whole."""


class DatasetRejected(Exception):
    """Nothing can be trained on this archive; the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
