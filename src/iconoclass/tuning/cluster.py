"""Trials on the workers of a Ray cluster: each opens the search and helps, as a second command would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from iconoclass import pipeline
from iconoclass.cluster import LOCAL, Cluster
from iconoclass.errors import UsageError
from iconoclass.models import weights
from iconoclass.tuning.search import Search
from iconoclass.tuning.worker import work


def work_on(address: str, search: Search, storage: str | None, hear: Callable[[str], None]) -> None:
    """Have all trials learned. The folder of the search, and the pictures, must be seen by all machines at one path.

    Raises: what a worker raises.
    """
    told = search.ended()

    def tell_news() -> None:
        for number in sorted(search.ended() - told):
            told.add(number)
            hear(search.said_of(number))

    with Cluster(address, search.request.workers) as cluster:
        calls = [(str(search.folder.absolute()), storage)] * search.request.workers
        cluster.each(help_with, calls, meanwhile=tell_news)


def refuse_one_file_for_many(address: str | None, storage: str | None) -> None:
    """Raises: UsageError, if workers on several machines would write one SQLite file, which spoils it."""
    if address not in (None, LOCAL) and storage is None:
        raise UsageError(
            "workers on several machines cannot share an SQLite file",
            hint="Give a database that all reach: --storage postgresql://USER:PASSWORD@HOST/DATABASE",
        )


def help_with(folder: str, storage: str | None) -> None:
    """What a worker does: trial after trial of a search, until there are none left."""
    search = Search(Path(folder), storage)
    asked = weights.decide(search.request.config, None)
    dataset = pipeline.opened(asked, True, None)
    search.refuse_other_pictures(dataset.fingerprint)
    work(search, dataset, lambda text: None, lambda text: None)
