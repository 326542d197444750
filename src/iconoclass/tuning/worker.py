"""A worker: trial after trial of a search, in this process, until there are none left."""

from __future__ import annotations

import time
from collections.abc import Callable

from iconoclass.data.dataset import Dataset
from iconoclass.tuning.search import Search
from iconoclass.tuning.trial import Say, try_out

POLL_S = 0.5  # between looks for a trial, where others learn the last ones

Hear = Callable[[str], None]


def work(search: Search, dataset: Dataset, say: Say, hear: Hear) -> None:
    """Learn trials until there are none left; others may work on the same search."""
    while not search.is_over:
        job = search.claim()
        if job is None:
            say("waiting for the other workers")
            time.sleep(POLL_S)
            continue
        with job.held:
            try_out(search, job, dataset, say)
        hear(search.said_of(job.number))
