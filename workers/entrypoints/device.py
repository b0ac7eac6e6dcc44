"""Try a device, in a child process or by `python -m workers.entrypoints.device NAME`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from models.runtime import devices
from workers.device import DeviceOrder, DeviceTried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.runtime.supervisor_callbacks import Context


def work(order: DeviceOrder, context: Context) -> Iterator[DeviceTried]:
    """Try the device."""
    yield DeviceTried(problem=devices.find_problem(order.device))


if __name__ == "__main__":
    print(devices.find_problem(sys.argv[1]) or "")
