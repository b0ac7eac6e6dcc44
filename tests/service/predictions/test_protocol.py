"""Messages from the API to a predictor."""

from __future__ import annotations

from service.predictions import protocol
from service.predictions.protocol import NamedModel, Question, SentImage


def test_a_message_is_what_was_asked() -> None:
    files = [b"one", b"", b"\0three"]
    images = [SentImage("a", 3), SentImage(None, dataset="ds_1", digest="00"), SentImage("b", 6)]
    question = Question([NamedModel("flowers", "ckpt_1")], images, 3, 0.9, is_alone=False)
    assert protocol.decode(protocol.encode(question, files)) == (question, files)


def test_an_error_that_was_not_foreseen_is_no_problem() -> None:
    assert protocol.read_problem(b"Internal Server Error") is None
    assert protocol.read_problem(b'{"code": "a", "detail": "b"}') == {"code": "a", "detail": "b"}
