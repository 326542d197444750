"""The machine and what is installed on it: kept with every run, and looked over by `iconoclass doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iconoclass.errors import IconoclassError
from iconoclass.files import cache_folder, environment_folder, size_of

PACKAGES = ("iconoclass", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy", "pillow", "scikit-learn")
# Of a processor's flags, those that decide how fast a network trains on it.
FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def describe() -> dict[str, Any]:
    """What environment.json says: versions, backend, processor, threads, command, git commit where there is one."""
    from iconoclass.backend import BACKEND, processor_features, processor_name, usable_cores

    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": _versions(),
        "backend": BACKEND,
        "processor": processor_name(),
        "processor_features": [name for name in FEATURES if name in processor_features()],
        "threads": usable_cores(),
        "command": sys.argv,
        "git_commit": _git_commit(),
    }


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. advice: what to do, if it is not well."""

    what: str
    is_well: bool
    saw: str
    advice: str = ""


def diagnose() -> list[Finding]:
    """Everything that a training needs, looked at and tried."""
    return [
        Finding("python", sys.version_info >= (3, 11), platform.python_version(), "Iconoclass needs 3.11 or newer."),
        Finding("packages", True, ", ".join(f"{name} {version}" for name, version in _versions().items())),
        _try_backend(),
        Finding("other backends", True, _other_backends()),
        _look_at_processor(),
        _look_at_memory(),
        _look_at_cache(),
        _look_at_data(),
    ]


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _git_commit() -> str | None:
    """The commit of the working folder: a run made inside a project can be found again by it."""
    git = shutil.which("git")
    if not git:
        return None
    answer = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    return answer.stdout.strip() or None


def _try_backend() -> Finding:
    """Imports it and multiplies two matrices with it."""
    try:
        from iconoclass.backend import BACKEND, keras

        ones = keras.ops.ones((64, 64))
        total = float(keras.ops.sum(keras.ops.matmul(ones, ones)))
    except IconoclassError as error:
        return Finding("backend", False, error.what, error.hint)
    saw = f"{BACKEND}, chosen by KERAS_BACKEND (default: tensorflow); multiplies matrices"
    return Finding("backend", total == 64**3, saw, "It multiplies wrongly: install it anew.")


def _other_backends() -> str:
    from iconoclass.backend import BACKEND, BACKENDS

    there = [name for name in BACKENDS if name != BACKEND and importlib.util.find_spec(name)]
    return ", ".join(there) or "none installed"


def _look_at_processor() -> Finding:
    from iconoclass.backend import processor_features, processor_has_bfloat16, processor_name, usable_cores

    features = " ".join(name for name in FEATURES if name in processor_features()) or "features unknown"
    trains_in = "bfloat16" if processor_has_bfloat16() else "float32"
    return Finding(
        "processor",
        True,
        f"{processor_name()}, {usable_cores()} cores, {features}; the fast recipe trains in {trains_in}",
    )


def _look_at_memory() -> Finding:
    try:
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return Finding("memory", True, "size unknown")
    return Finding("memory", gigabytes >= 2, f"{gigabytes:.1f} GiB", "Training needs about 2 GiB.")


def _look_at_cache() -> Finding:
    try:
        folder = cache_folder()
    except IconoclassError as error:
        return Finding("cache", False, error.what, error.hint)
    free = shutil.disk_usage(folder).free / 2**30
    used = size_of(folder) / 2**20
    advice = "Make room, or set ICONOCLASS_CACHE to a folder on another disk."
    return Finding("cache", free >= 1, f"{folder}, {used:,.0f} MiB used, {free:,.0f} GiB free", advice)


def _look_at_data() -> Finding:
    try:
        folder = environment_folder("ICONOCLASS_DATA")
    except IconoclassError as error:
        return Finding("data sets", False, error.what, error.hint)
    if folder is None:
        return Finding("data sets", True, "ICONOCLASS_DATA is not set; they are downloaded when they are first needed")
    there = sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir())
    return Finding("data sets", True, f"{folder} holds {', '.join(there) or 'nothing'}")
