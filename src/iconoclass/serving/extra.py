"""What serving needs beyond the base install, and how to get it."""

from __future__ import annotations

from iconoclass.prediction.runtimes import needed


def need() -> None:
    """Raises: EnvironmentFault, if a library is missing; it says how to install it."""
    for module in ("fastapi", "uvicorn", "httptools", "prometheus_client", "python_multipart"):
        needed(module, "'iconoclass[serve]'")
