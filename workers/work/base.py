"""An attempt at one claimed piece of work: what differs between kinds of work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from service.tables import Backbone, Dataset, Job

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy.orm import Session

Row = TypeVar("Row", Job, Dataset, Backbone)


class Interrupted(Exception):
    """The work was cancelled or paused."""


class Attempt(ABC, Generic[Row]):
    """What is done before, with and after a child. The rows that it gets are fenced."""

    module: ClassVar[str]
    """Whose `work(order)` the child runs."""

    @property
    def can_secure(self) -> bool:
        """Whether the child would now secure what it has done, if it were asked to."""
        return False

    def equip(self) -> None:
        """Bring what the child needs onto this machine, outside any transaction. Raises OSError."""

    @abstractmethod
    def begin(self, session: Session, row: Row) -> BaseModel:
        """The attempt begins; gives the order that the child gets."""

    def prepare(self, lines: list[bytes]) -> None:
        """Do what events ask for that takes long, outside any transaction. Raises ContentsCollected."""

    @abstractmethod
    def record(self, session: Session, row: Row, lines: list[bytes]) -> bool:
        """Write down events; says whether the work has ended with them. Raises ContentsCollected, Unwanted."""

    def committed(self) -> None:
        """Do what follows from the messages once their transaction is committed."""

    def crashed(self, session: Session, row: Row, cause: str, message: str) -> None:
        """The attempt died before its work was done; another shall begin again."""
        row.release()

    @abstractmethod
    def failed(self, session: Session, row: Row, cause: str, message: str) -> None:
        """The last attempt died: the work is given up."""

    def postponed(self, session: Session, row: Row, cause: str, message: str, seconds: float) -> None:
        """What it needs was not there; another shall begin again after a while."""
        row.release()
        row.wait(session, seconds)

    def hand_back(self, session: Session, row: Row) -> None:
        """This worker stops; another shall begin again."""
        row.release()

    def interrupted(self, session: Session, row: Row) -> None:
        """The work was cancelled or paused, as only jobs can be, and the child is gone."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Remove what the attempt left on this machine."""
