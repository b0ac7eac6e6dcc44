"""Has a Python process take the time of day for another: GRAFT_FAULTS_CLOCK says by how many seconds."""

import os
import time

_true = time.time


def _moved() -> float:
    return _true() + float(os.environ["GRAFT_FAULTS_CLOCK"])


time.time = _moved
