"""Servers to be asked: ours and its rivals, each started in a session of its own and ended with all its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from load import generator

HERE = Path(__file__).parent
RIVALS = HERE / "rivals"
READY_S = 90


@dataclass(frozen=True)
class Server:
    """How one is started. command: with {port}; form: it takes no raw bodies."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    form: bool = False
    folder: Path = HERE


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    url: str
    ready_s: float

    @property
    def family(self) -> list[int]:
        """Its process and all below it."""
        found = [self.process.pid]
        for number in found:
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{number}/task/{number}/children").read_text()
                found += [int(child) for child in children.split()]
        return found

    def memory_mb(self) -> float:
        """Of all its processes; what they share counts once."""
        sizes = []
        for number in self.family:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
                sizes += [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
        return sum(sizes) / 1024


@contextlib.contextmanager
def running(server: Server, port: int, picture: bytes) -> Iterator[Running]:
    """The server, once it has answered about a picture."""
    command = [word.format(port=port) for word in server.command]
    url, began = f"http://127.0.0.1:{port}/predict", time.perf_counter()
    environment = {**os.environ, "ICONOCLASS_API_KEY": "", **server.environment}
    output = subprocess.DEVNULL if "QUIET" not in os.environ else None
    process = subprocess.Popen(
        command, env=environment, cwd=server.folder, stdout=output, stderr=output, start_new_session=True
    )
    try:
        _wait(url, picture, server.form, began + READY_S, process)
        yield Running(process, url, time.perf_counter() - began)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)


def _wait(url: str, picture: bytes, form: bool, until: float, process: subprocess.Popen[bytes]) -> None:
    while time.perf_counter() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            if generator(url, [picture], form=form).closed(1, 0.05).of(200):
                return
        time.sleep(0.02)
    raise RuntimeError(f"no answer from {process.args!r}")


def ours(path: Path, *arguments: str) -> Server:
    command = [sys.executable, "-m", "iconoclass", "serve", str(path), "--port", "{port}", *arguments]
    return Server("iconoclass", command)


def rivals(python: Path, onnx: Path, keras: Path, class_names: Sequence[str]) -> list[Server]:
    """python: of an environment with rivals/requirements.txt. Flask runs in ours, where TensorFlow is."""
    packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    asked = {
        "MODEL": str(onnx.absolute()),
        "KERAS_MODEL": str(keras.absolute()),
        "CLASSES": ",".join(class_names),
        "RIVALS": str(packages),
        "RAY_USAGE_STATS_ENABLED": "0",
        "BENTOML_DO_NOT_TRACK": "True",
    }

    def script(name: str, file: str, own: Path = python, form: bool = False, **more: str) -> Server:
        return Server(name, [str(own), file, "{port}"], asked | more, form, RIVALS)

    bento = [str(python.parent / "bentoml"), "serve", "bentoml_onnx:Classifier", "--port", "{port}"]
    return [
        script("FastAPI + ONNX Runtime, 1 process", "fastapi_onnx.py", WORKERS="1"),
        script("FastAPI + ONNX Runtime, 2 processes", "fastapi_onnx.py", WORKERS="2"),
        script("LitServe", "litserve_onnx.py", form=True),
        Server("BentoML", bento, asked, folder=RIVALS),
        script("Ray Serve", "ray_onnx.py"),
        script("Flask + model.predict", "flask_keras.py", Path(sys.executable)),
    ]
