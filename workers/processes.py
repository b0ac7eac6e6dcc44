"""How the life of one process hangs on that of another."""

import ctypes
import signal
import sys


def die_with_parent(signum: signal.Signals) -> None:
    """Have the kernel send this process `signum` when its parent ends, however it ends. Linux only."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signum)
