"""One training on the workers of a Ray cluster: they go through it side by side, and share what each step has found."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iconoclass.cluster import LOCAL, Cluster
from iconoclass.data.dataset import open_dataset
from iconoclass.errors import RunError, UsageError
from iconoclass.run import Run, readable
from iconoclass.training import team
from iconoclass.training.checkpoint import Checkpoints, newest
from iconoclass.training.learner import Learner, prepare
from iconoclass.training.progress import Listener, Now
from iconoclass.training.trainer import stopping, train

Told = tuple[str, tuple[Any, ...]]


def learn_together(learner: Learner, run: Run, listener: Listener, address: str | None) -> None:
    """`train`, by as many workers as the settings say. They begin with a checkpoint of this learner, which takes no
    step itself, and in the end is what their last checkpoint holds.

    address: of a Ray cluster, whose machines all see the run and the pictures at the same paths; None: of this machine.
    Raises: as `train`; EnvironmentFault, if a worker dies, or there is no room for all of them; UsageError, if it began
    under a budget.
    """
    if learner.budget:
        raise UsageError("several workers cannot keep to a budget, which follows the clock of one process")
    learner.started = time.monotonic() - learner.elapsed_s
    Checkpoints(run, 0.0, listener.tells).write(learner, is_last=True)
    hint = f"Go on from the last checkpoint: iconoclass resume {readable(run.path)}"
    try:
        with Cluster(address or LOCAL, learner.config.training.workers) as cluster, stopping(learner) as is_asked:
            workers = cluster.actors(Worker)
            addresses = cluster.answers([worker.address.remote() for worker in workers])
            where = str(Path.cwd()), str(run.path.absolute())
            calls = {worker.learn.remote(rank, addresses, *where): worker for rank, worker in enumerate(workers)}

            def meanwhile() -> None:
                if is_asked():
                    workers[0].stop.remote()
                with contextlib.suppress(cluster.ray.exceptions.RayError):  # it has ended, and `until_ended` hears why
                    retell(listener, cluster.ray.get(workers[0].news.remote()))

            cluster.until_ended(calls, lambda news: retell(listener, news), meanwhile, hint)
    finally:
        listener.ends()
    if found := newest(run):
        found.restore(learner)
    learner.is_stopped = not learner.is_done


class Worker:
    """One of the team, in a process of its own. While it learns, it can be asked for news and told to stop."""

    def __init__(self) -> None:
        self.post = Post()
        self.learner: Learner | None = None

    def address(self) -> str:
        """Where it can be reached: HOST:PORT, the port being free now."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def learn(self, rank: int, addresses: Sequence[str], folder: str, path: str) -> list[Told]:
        """Go through the training with the others. folder: that of the command, from which its paths count.

        Returns: of the first, the last news. Raises: as `train`; RunError, if the pictures here are others than there.
        """
        with contextlib.suppress(OSError):  # another machine need not have it; then paths must be absolute
            os.chdir(folder)
        team.join(rank, addresses)
        run = Run(Path(path))
        dataset = open_dataset(run.config.data)
        if dataset.fingerprint != run.dataset["fingerprint"]:
            raise RunError(f"{socket.gethostname()} has other pictures under {run.config.data.source}")
        self.learner = prepare(dataset, run.config)
        if found := newest(run):
            found.restore(self.learner)
        train(self.learner, run, self.post if rank == 0 else Listener())
        return self.news()

    def news(self) -> list[Told]:
        return self.post.fetch()

    def stop(self) -> None:
        """After the step that it is at; it writes a checkpoint. The others wait for it in vain, and are ended."""
        if self.learner:
            self.learner.is_stopped = True


class Post(Listener):
    """Keeps what it hears until it is fetched; of the steps only the last."""

    def __init__(self) -> None:
        self.told: deque[Told] = deque()
        self.now: Now | None = None

    def begins(self, epochs: int, steps: int) -> None:
        self.told.append(("begins", (epochs, steps)))

    def moves(self, now: Now) -> None:
        self.now = now

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        self.told.append(("ends_epoch", (row, now)))

    def tells(self, line: str) -> None:
        self.told.append(("tells", (line,)))

    def fetch(self) -> list[Told]:
        told = [self.told.popleft() for _ in range(len(self.told))]
        now, self.now = self.now, None
        return [*told, ("moves", (now,))] if now else told


def retell(listener: Listener, news: Sequence[Told]) -> None:
    for what, arguments in news:
        getattr(listener, what)(*arguments)
