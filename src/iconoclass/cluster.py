"""Ray: workers on this machine or on many. What they are to do is a function; without Ray it is called right here."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from iconoclass.errors import EnvironmentFault, IconoclassError, UsageError
from iconoclass.process import usable_cores

LOCAL = "local"
KEPT = ("PYTHONPATH", "ICONOCLASS_DATA", "ICONOCLASS_CACHE", "KERAS_BACKEND")  # are for workers what they are here
AHEAD = 2  # tasks given out for each worker, so that none waits for the next
GATHERING_S = 120.0  # until a process for each worker has begun
PARTING_S = 60.0  # until those have ended who wait for one that has failed


class Cluster:
    """A Ray cluster that has been joined, or was started here. workers: how many work at a time.

    Each worker keeps as many cores busy as there are for it.
    """

    def __init__(self, address: str, workers: int | None) -> None:
        """Raises: EnvironmentFault, if Ray is not installed or the cluster cannot be reached; UsageError."""
        self.ray = import_ray()
        options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False, "configure_logging": False}
        if address == LOCAL:
            self.workers = workers or usable_cores()
            self.cores = max(1, usable_cores() // self.workers)
            self._start(num_cpus=self.workers * self.cores, **options)
        else:
            options.pop("include_dashboard")
            self._start(address=address, **options)
            cores = int(self.ray.cluster_resources().get("CPU", 0))
            self.workers = workers or max(1, cores)
            self.cores = max(1, cores // self.workers)
        if self.workers < 1:
            raise UsageError(f"workers must be 1 or more. Received: {workers}")

    def _start(self, **options: Any) -> None:
        try:
            self.ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            what = f"the Ray cluster cannot be reached: {error}"
            raise EnvironmentFault(
                what, hint="Is `ray start --head` running there? --cluster local needs none."
            ) from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def each(
        self,
        function: Callable[..., Any],
        calls: Iterable[tuple[Any, ...]],
        done: Callable[[Any], None] = lambda answer: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Call a function with each of some arguments, on whichever worker is free. `done` hears each answer, and
        `meanwhile` is called about once a second.

        A call whose worker or machine dies is made again, so it must not matter if a part of it was done before.
        Raises: what the function raises.
        """
        remote = self.ray.remote(function).options(max_retries=-1, **self._place)
        waiting = iter(calls)
        given: set[Any] = set()
        while True:
            while len(given) < AHEAD * self.workers and (call := next(waiting, None)) is not None:
                given.add(remote.remote(*call))
            if not given:
                return
            ready, _ = self.ray.wait(list(given), num_returns=1, timeout=1.0)
            given -= set(ready)
            for reference in ready:
                done(self._answer(reference))
            meanwhile()

    def actors(self, kind: type) -> list[Any]:
        """An object of a class for each worker, in a process of its own; some of its methods can be called at once."""
        remote = self.ray.remote(kind).options(max_concurrency=4, **self._place)
        return [remote.remote() for _ in range(self.workers)]

    def answers(self, references: list[Any]) -> list[Any]:
        """What the first calls of all actors give. Raises: EnvironmentFault, if there is no room for some of them."""
        try:
            return list(self.ray.get(references, timeout=GATHERING_S))
        except self.ray.exceptions.GetTimeoutError as error:
            what = f"the cluster has no room for {self.workers} workers of {self.cores} cores each"
            raise EnvironmentFault(what, hint="Ask for fewer, or wait until others have ended.") from error

    def until_ended(
        self, calls: Mapping[Any, Any], done: Callable[[Any], None], meanwhile: Callable[[], None], hint: str
    ) -> None:
        """Wait for calls that need each other: reference -> actor, the first one's first. `done` hears each answer.

        An actor whose call has ended is ended too, so that nobody waits for it in vain. What became of the first one
        counts.
        Raises: where that has failed, what it or another raised; EnvironmentFault with that hint, if one died.
        """
        first, left = next(iter(calls)), dict(calls)
        failures: dict[Any, Exception] = {}
        parted = math.inf
        while left:
            for reference in self.ray.wait(list(left), timeout=0.2)[0]:
                try:
                    done(self._answer(reference))
                except (self.ray.exceptions.RayError, IconoclassError) as error:
                    failures[reference] = error
                if reference in failures or reference == first:
                    parted = min(parted, time.monotonic() + PARTING_S)
                self.ray.kill(left.pop(reference))
            if time.monotonic() > parted:
                for actor in left.values():
                    self.ray.kill(actor)
            meanwhile()
        if first in failures:
            raise self._cause(list(failures.values()), hint)

    def _cause(self, failures: list[Exception], hint: str) -> Exception:
        """Of what was raised, in the order of time, what the rest may follow from."""
        ours = [error for error in failures if isinstance(error, IconoclassError)]
        died = [error for error in failures if isinstance(error, self.ray.exceptions.ActorDiedError)]
        if died and not ours:
            return EnvironmentFault("a worker has died, of which the others can say no more", hint=hint, code="WORKER")
        return [*ours, *failures][0]

    @property
    def _place(self) -> dict[str, Any]:
        """Ray's options for what is to run on a worker."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment = {"env_vars": {**kept, "ICONOCLASS_CORES": str(self.cores)}}
        return {"num_cpus": self.cores, "runtime_env": environment, "scheduling_strategy": "SPREAD"}

    def _answer(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, IconoclassError):
                raise error.cause from error
            raise


def import_ray() -> Any:
    """Raises: EnvironmentFault, if it is not installed."""
    # Ray tells its makers how it is used, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        what = f"this needs ray, which cannot be imported: {error}"
        raise EnvironmentFault(what, hint="pip install 'iconoclass[ray]'", code="MISSING_EXTRA") from error
    return ray
