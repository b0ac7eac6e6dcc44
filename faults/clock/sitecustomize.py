"""Shift the wall clock of a Python process by GRAFT_FAULTS_CLOCK seconds."""

import os
import time

_true = time.time


def _moved() -> float:
    return _true() + float(os.environ["GRAFT_FAULTS_CLOCK"])


time.time = _moved
