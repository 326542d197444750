"""A worker that misbehaves when a picture's first pixel says so: python bad_worker.py FILE."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from iconoclass.serving import child
from iconoclass.serving.network import Network

HANGS, DIES, NAN, SLOW = 201, 202, 203, 204


def misbehaving(network: Network, pictures: list) -> list:
    firsts = {int(picture.flat[0]) for picture in pictures}
    if HANGS in firsts:
        time.sleep(600)
    if DIES in firsts:
        os.kill(os.getpid(), signal.SIGKILL)
    if SLOW in firsts:
        time.sleep(0.3)
    if NAN in firsts:
        network._predictor._runtime = lambda pixels: np.where(
            pixels[:, 0, 0] == NAN, np.float32("nan"), np.full((len(pixels), 10), 0.1, np.float32)
        )
    return answers(network, pictures)


if __name__ == "__main__":
    answers = Network.answers
    Network.answers = misbehaving
    child.main(Path(sys.argv[1]))
