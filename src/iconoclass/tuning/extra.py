"""What searching needs beyond the base install, and how to get it."""

from __future__ import annotations

from iconoclass.prediction.runtimes import needed


def need(storage: str | None = None, cluster: str | None = None) -> None:
    """Raises: EnvironmentFault, if a library is missing; it says how to install it."""
    needed("optuna", "'iconoclass[tune]'")
    if storage:
        needed("pg8000", "'iconoclass[tune]'")
    if cluster:
        needed("ray", "'iconoclass[ray]'")
