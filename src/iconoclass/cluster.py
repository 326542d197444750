"""Ray: workers on this machine or on many. What they are to do is a function; without Ray it is called right here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from iconoclass.errors import EnvironmentFault, IconoclassError, UsageError
from iconoclass.process import usable_cores

LOCAL = "local"
KEPT = ("PYTHONPATH", "ICONOCLASS_DATA", "ICONOCLASS_CACHE", "KERAS_BACKEND")  # are for workers what they are here
AHEAD = 2  # tasks given out for each worker, so that none waits for the next


class Cluster:
    """A Ray cluster that has been joined, or was started here. workers: how many work at a time.

    Each worker keeps as many cores busy as there are for it.
    """

    def __init__(self, address: str, workers: int | None) -> None:
        """Raises: EnvironmentFault, if Ray is not installed or the cluster cannot be reached; UsageError."""
        self.ray = _ray()
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
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment = {"env_vars": {**kept, "ICONOCLASS_CORES": str(self.cores)}}
        remote = self.ray.remote(function).options(
            num_cpus=self.cores, max_retries=-1, runtime_env=environment, scheduling_strategy="SPREAD"
        )
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

    def _answer(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, IconoclassError):
                raise error.cause from error
            raise


def _ray() -> Any:
    # Ray tells its makers how it is used, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        what = f"this needs ray, which cannot be imported: {error}"
        raise EnvironmentFault(what, hint="pip install 'iconoclass[ray]'", code="MISSING_EXTRA") from error
    return ray
