"""Cache of values in memory, bounded by their bytes; those that were asked for longest ago go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Cache of values up to a total of bytes; a single larger one is kept until the next."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """Of all values."""
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, key: Hashable) -> Value | None:
        """Recall a value; None if it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def remember(self, key: Hashable, value: Value, size: int) -> None:
        """Remember a value of this size in bytes, and forget others until the total is within the bound."""
        with self._lock:
            self._drop(key)
            self._values[key] = value, size
            self.bytes += size
            while self.bytes > self.most_bytes and len(self._values) > 1:
                self._drop(next(iter(self._values)))

    def forget(self, key: Hashable) -> None:
        """Forget a value, if it is kept."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            self.bytes -= self._values.pop(key)[1]
