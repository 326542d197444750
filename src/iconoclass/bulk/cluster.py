"""Parts worked on by the workers of a Ray cluster, each with a predictor of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from iconoclass.bulk.parts import Parts, predictor_of
from iconoclass.cluster import Cluster

Tell = Callable[[str, int, int], None]


def work_on(address: str, parts: Parts, workers: int | None, tell: Tell) -> None:
    """Work on all parts that are missing. Raises: what a worker raises."""
    left = parts.missing
    size, done = parts.request["part"], parts.count - len(left)

    def count(_: Any) -> None:
        nonlocal done
        done += 1
        tell("asked about", min(done * size, parts.pictures), parts.pictures)

    if left:
        with Cluster(address, workers) as cluster:
            calls = ((str(parts.folder), dict(parts.request), number) for number in left)
            cluster.each(work, calls, count)


def work(folder: str, request: dict[str, Any], number: int) -> int:
    """One part, on a worker. One that was written before its worker died is left as it is."""
    parts = Parts(Path(folder), request, 0, 0)
    if parts.file(number).is_file():
        return 0
    return parts.work(number, predictor_of(request["model"], request["unknown_rate"]))
