"""Metrics: what Prometheus reads under /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counted per server, so that two in one process do not mix."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        at = {name: f"iconoclass_{name}" for name in NAMES}
        self.requests = Counter(at["requests"], NAMES["requests"], ["route", "status"], registry=own)
        self.seconds = Histogram(
            at["request_seconds"], NAMES["request_seconds"], ["route"], buckets=SECONDS, registry=own
        )
        self.batches = Histogram(at["batch_pictures"], NAMES["batch_pictures"], buckets=BATCHES, registry=own)
        self.shed = Counter(at["shed"], NAMES["shed"], registry=own)
        self.cancelled = Counter(at["cancelled"], NAMES["cancelled"], registry=own)
        self.lost = Counter(at["workers_lost"], NAMES["workers_lost"], registry=own)
        self.reloads = Counter(at["reloads"], NAMES["reloads"], ["result"], registry=own)
        self.accepted = Gauge(at["accepted_pictures"], NAMES["accepted_pictures"], registry=own)
        self.workers = Gauge(at["workers"], NAMES["workers"], registry=own)
        self.ready = Gauge(at["ready"], NAMES["ready"], registry=own)
        self.model = Gauge(at["model_info"], NAMES["model_info"], ["name", "version"], registry=own)
        self._of: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # finding them anew takes as long as counting

    def watch(self, accepted: Callable[[], int], workers: Callable[[], int], is_ready: Callable[[], bool]) -> None:
        self.accepted.set_function(accepted)
        self.workers.set_function(workers)
        self.ready.set_function(is_ready)

    def count(self, route: str, status: int, seconds: float) -> None:
        """One request, and how long it took."""
        key = route, status
        if key not in self._of:
            self._of[key] = self.requests.labels(route, str(status)), self.seconds.labels(route)
        requests, taken = self._of[key]
        requests.inc()
        taken.observe(seconds)

    def tell_model(self, name: str, version: str) -> None:
        self.model.clear()
        self.model.labels(name, version).set(1)

    def text(self) -> bytes:
        return generate_latest(self.registry)


NAMES = {
    "requests": "Requests by route and status.",
    "request_seconds": "From first byte to answer.",
    "batch_pictures": "Pictures asked about at once.",
    "shed": "Requests refused because the queue was full or a rate was exceeded.",
    "cancelled": "Requests whose client left before the answer.",
    "workers_lost": "Processes that died or were killed because they hung.",
    "reloads": "New versions by what became of them.",
    "accepted_pictures": "Accepted and not answered yet.",
    "workers": "Processes that can be asked about the model.",
    "ready": "1 while requests are accepted.",
    "model_info": "The version that answers.",
}
