"""Pushes as JSON."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, StrictBool, StringConstraints, model_validator

from models.catalog.technique import StrictModel
from service.types import DescribedModel, Text


def _check_token(token: SecretStr) -> SecretStr:
    """Check that a header can hold a token."""
    if not re.fullmatch(r"[!-~]+", token.get_secret_value()):
        raise ValueError("is no token: it has letters, digits and signs of ASCII alone, without spaces")
    return token


Secret = Annotated[SecretStr, Field(min_length=1, max_length=4096, json_schema_extra={"writeOnly": True})]
"""A token or password for this one request: it is not stored, logged or repeated."""
Token = Annotated[Secret, AfterValidator(_check_token)]
RepoId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")]
Folder = Literal["hub", "bundle"]


class HubPush(StrictModel):
    """A push to a repository of the Hugging Face Hub, in one commit."""

    to: Literal["hub"]
    repo: RepoId
    """ORG/NAME; it is made where it does not exist."""
    token: Token
    """With the right to write to the repository."""
    private: StrictBool = True
    """Whether a repository that is made is private."""
    revision: Text = "main"
    """Branch to commit to; it is made where it does not exist."""
    message: Text = "Upload a model of Graft"
    """Of the commit."""
    format: Folder = "hub"
    """hub: the folder that timm loads by its name; bundle: what predicts by itself, for networks that timm has not."""


class MlflowPush(StrictModel):
    """A push to the model registry of an MLflow server, as a new version."""

    to: Literal["mlflow"]
    uri: Annotated[str, StringConstraints(max_length=1000)]
    """Address of the tracking server, as in https://mlflow.example.org; it must serve artifacts itself."""
    model: Text
    """Name of the registered model; it is made where it does not exist."""
    token: Secret | None = None
    """Bearer token, or the password of `username`; null where the server asks for none."""
    username: Text | None = None
    """Where the server has users and passwords."""
    experiment: Text = "graft"
    """Experiment of the run that the version belongs to; it is made where it does not exist."""
    format: Folder = "hub"
    """hub: a folder that timm loads; bundle: what predicts by itself, for networks that timm has not."""

    @model_validator(mode="after")
    def _check_bearer_token(self) -> Self:
        if self.token is not None and self.username is None:
            _check_token(self.token)
        return self


Push = Annotated[HubPush | MlflowPush, Field(discriminator="to")]


class Pushed(DescribedModel):
    """A push that is done."""

    to: Literal["hub", "mlflow"]
    url: str
    """Where a person finds it."""
    version: str
    """The Hub's commit, or the version of the registered model."""
    files: list[str]
    bytes: int
