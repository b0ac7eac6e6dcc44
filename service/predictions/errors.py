"""Errors of predictions."""

from __future__ import annotations

from service.errors import TooLarge, Unavailable, Unprocessable

HOW_TO_START = "Start one: graft predictor (graft up has one, and docker compose up too)."


class NoPredictor(Unavailable):
    """No predictor is running."""

    code = "no_predictor"


class PredictorLost(Unavailable):
    """The predictor ended, or broke the connection, while it had the request."""

    code = "predictor_lost"
    retry_after = 1


class ModelsMissing(Unprocessable):
    """The request names no model."""

    code = "models_missing"


class NoImage(Unprocessable):
    """The request holds no image."""

    code = "no_image"


class TooManyImages(Unprocessable):
    """The request holds more images than this deployment takes at once."""

    code = "too_many_images"


class TooManyPredictions(Unprocessable):
    """Images times models are more than one request may ask for."""

    code = "too_many_predictions"


class RequestTooLarge(TooLarge):
    """The request has more bytes than this deployment takes."""

    code = "request_too_large"
