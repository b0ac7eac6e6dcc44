"""Environment variables that libraries read when a process starts, for those that compute; torch-free."""

from __future__ import annotations

TUNING = {
    # How long OpenMP's threads spin for their next piece of work, some microseconds. By its default of milliseconds,
    # two processes on the same cores (measured: 2 cores, steps of a linear head) slow each other down 4 to 14 times.
    "GOMP_SPINCOUNT": "1000",
    # Freed memory stays with the process for its next tensor. By its defaults glibc returns each large block, and the
    # kernel clears all pages again (measured: 2 cores, mobilenetv2_100, 76 to 96 against 212 images/s).
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
}
