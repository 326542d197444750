"""What a server must stand, one trial a time: each prints and records what was seen.

    python benchmarks/serving/trials.py TRIAL EXPORT PICTURES [--seconds 60]

EXPORT is the folder of an ONNX export, PICTURES a folder of pictures. Results: benchmarks/results/serving.jsonl.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from load import Load, Seen, generator
from PIL import Image
from records import record
from servers import Running, ours, running

from iconoclass.files import sha256_of
from iconoclass.prediction.predictor import Predictor

PORT = 8500
Row = dict[str, Any]


class Trial:
    """An export, pictures, and what the predictor says about each of them without any server."""

    def __init__(self, export: Path, pictures: Path, seconds: float, other: Path | None = None) -> None:
        self.file, self.seconds = export / "model.onnx", seconds
        self.folder, self.other = pictures, other or export
        self.pictures = [path.read_bytes() for path in sorted(pictures.iterdir())[:100]]
        answers = Predictor.load(self.file).predict(self.pictures)
        self.expected = [(answer.class_name, answer.confidence) for answer in answers]

    def different(self, seen: list[Seen]) -> int:
        """Answers that are not those of the predictor."""
        return sum(not self._is_right(one) for one in seen)

    def _is_right(self, one: Seen) -> bool:
        [told] = json.loads(one.body)["predictions"]
        name, confidence = self.expected[one.picture]
        return told["class_name"] == name and abs(told["confidence"] - confidence) < 1e-5

    def peak(self, run: Running) -> float:
        """Answers a second that a closed loop gets out of it: the most of several numbers of connections."""
        generator(run.url, self.pictures).closed(16, 1)
        return max(generator(run.url, self.pictures).closed(count, 4).summary()["per_second"] for count in (8, 32, 64))


def reference(trial: Trial) -> Row:
    """Decoding and inference with no server at all: one process, and as many as there are cores."""
    return {f"{count}_processes": _reference(trial, count) for count in (1, os.cpu_count() or 1)}


def _reference(trial: Trial, processes: int) -> Row:
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        found = pool.map(_decode_and_ask, [(trial.file, trial.pictures, 5.0)] * processes, chunksize=1)
    return {"per_second": round(sum(each[0] for each in found), 1), "p50_ms": round(found[0][1], 3)}


def _decode_and_ask(task: tuple[Path, list[bytes], float]) -> tuple[float, float]:
    file, pictures, seconds = task
    predictor, took = Predictor.load(file, threads=1), []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        predictor.probabilities(predictor.prepared(pictures[len(took) % len(pictures)])[None])
        took.append(time.perf_counter() - began)
    return len(took) / sum(took), float(np.median(took)) * 1000


def alone(trial: Trial) -> Row:
    """One client, and how long from the command to the first answer, and the memory of an idle server."""
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        idle = run.memory_mb()
        load = generator(run.url, trial.pictures).closed(1, trial.seconds)
        return {"ready_s": round(run.ready_s, 2), "idle_mb": round(idle), **load.summary()}


def peak(trial: Trial) -> Row:
    """The most that a closed loop gets, and that every answer is the predictor's."""
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        best = trial.peak(run)
        load = generator(run.url, trial.pictures).closed(32, trial.seconds)
        good = load.of(200)
        return {"peak": best, "compared": len(good), "different": trial.different(good), **load.summary()}


def steady(trial: Trial) -> Row:
    """70 % of the peak, in an open loop."""
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        best = trial.peak(run)
        return {"peak": best, **generator(run.url, trial.pictures).opened(0.7 * best, trial.seconds).summary()}


def overload(trial: Trial) -> Row:
    """Three times the peak, in an open loop; then 2 seconds later a single client."""
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        best, before = trial.peak(run), run.memory_mb()
        alone = generator(run.url, trial.pictures).closed(1, 2).summary()["p50_ms"]
        load = generator(run.url, trial.pictures).opened(3 * best, trial.seconds)
        after = run.memory_mb()
        time.sleep(2)
        again = generator(run.url, trial.pictures).closed(1, 2).summary()["p50_ms"]
        summary = load.summary()
        return {
            "peak": best,
            "goodput_share": round(summary["per_second"] / best, 3),
            "different": trial.different(load.of(200)),
            "memory_mb": [round(before), round(after)],
            "alone_p50_ms": [alone, again],
            **summary,
        }


def sigterm(trial: Trial, times: int = 20) -> Row:
    """SIGTERM under load: whoever was let in is answered, and the server leaves with 0."""
    lost, answered, exits = 0, 0, []
    for at in range(times):
        with running(ours(trial.file), PORT + at, trial.pictures[0]) as run:
            threading.Timer(1.0, run.process.send_signal, [signal.SIGTERM]).start()
            counts = _until_closed(run, trial.pictures)
            answered, lost = answered + counts[0], lost + counts[1]
            exits.append(run.process.wait(30))
    return {"times": times, "answered": answered, "lost": lost, "exits": sorted(set(exits))}


def _until_closed(run: Running, pictures: list[bytes], clients: int = 16) -> tuple[int, int]:
    """Each client asks over a connection that it keeps until it may ask no more: answered, and lost."""
    answered, lost = [0] * clients, [0] * clients

    def client(at: int) -> None:
        host = run.url.split("/")[2]
        while True:
            connection = http.client.HTTPConnection(host, timeout=20)
            try:
                connection.connect()
            except OSError:
                return  # nobody lets us in any more
            try:
                while True:
                    connection.request("POST", "/predict", pictures[0])
                    answer = connection.getresponse()
                    answer.read()
                    answered[at] += 1
                    if answer.status != 200 or answer.will_close:
                        break
            except OSError:
                lost[at] += 1
            finally:
                connection.close()

    threads = [threading.Thread(target=client, args=(at,)) for at in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered), sum(lost)


def reloads(trial: Trial, times: int = 50) -> Row:
    """Two versions that answer differently, in turn, under load: every answer is that of the version that it names."""
    versions = [trial, Trial(trial.other, trial.folder, trial.seconds)]
    with tempfile.TemporaryDirectory() as folder:
        export = Path(shutil.copytree(trial.file.parent, Path(folder) / "onnx"))
        with running(ours(export / "model.onnx", "--watch"), PORT, trial.pictures[0]) as run:
            thread = threading.Thread(target=_reload, args=(run, export, versions, times))
            thread.start()
            load = Load(0)
            while thread.is_alive():
                more = generator(run.url, trial.pictures).closed(8, 5)
                load.took, load.seen = load.took + more.took, load.seen + more.seen
    of = {sha256_of(version.file)[:12]: version for version in versions}
    mixed = sum(of[json.loads(one.body)["model"]["version"]].different([one]) for one in load.of(200))
    return {"reloads": times, "mixed": mixed, **load.summary()}


def _reload(run: Running, export: Path, versions: list[Trial], times: int) -> None:
    """Put the other version in the place of the one that is served, and wait until it is."""
    for at in range(1, times + 1):
        version = versions[at % 2]
        for name in ("manifest.json", "model.onnx"):
            shutil.copyfile(version.file.parent / name, export / "new")
            (export / "new").replace(export / name)
        digest = sha256_of(version.file)[:12]
        while digest.encode() not in urllib.request.urlopen(run.url.replace("/predict", "/model")).read():
            time.sleep(0.1)


def kills(trial: Trial, times: int = 10) -> Row:
    """A worker is killed every two seconds: only what it was at fails, with 503."""
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        stop = threading.Event()

        def kill() -> None:
            for _ in range(times):
                stop.wait(2)
                os.kill(run.family[1], signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        load = generator(run.url, trial.pictures).closed(16, 2.0 * times + 3)
        thread.join()
        good = load.of(200)
        return {"kills": times, "failed": len(load.of(503)), "different": trial.different(good), **load.summary()}


def trouble(trial: Trial) -> Row:
    """An honest open loop at a third of the peak: by itself, and beside 200 slow senders and 10 bombs a second."""
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        rate = trial.peak(run) / 3
        before = generator(run.url, trial.pictures).opened(rate, trial.seconds).summary()
        # In processes of their own: in this one they would keep the honest clients from looking at their answers.
        context = multiprocessing.get_context("spawn")
        others = [context.Process(target=each, args=(run.url,), daemon=True) for each in (_slow_senders, _bombs)]
        for other in others:
            other.start()
        time.sleep(2)
        during = generator(run.url, trial.pictures).opened(rate, trial.seconds).summary()
        for other in others:
            other.terminate()
            other.join()
        return {"rate": round(rate), "before": before, "during": during}


def _slow_senders(url: str, count: int = 200) -> None:
    """A byte a second each; who is shown out comes again. Until it is ended."""
    address = ("127.0.0.1", int(url.split(":")[2].split("/")[0]))
    lines: list[socket.socket] = []
    while True:
        lines = [line for line in lines if _sends(line)]
        lines += [socket.create_connection(address) for _ in range(count - len(lines))]
        time.sleep(1)


def _sends(line: socket.socket) -> bool:
    try:
        line.send(b"P")
        return True
    except OSError:
        return False


def _bombs(url: str) -> None:
    """Ten small files a second that claim to be large, half of them beyond the limit, half of them just below it; until
    it is ended.
    """
    bombs = []
    for side in (7000, 6300):
        file = io.BytesIO()
        Image.new("1", (side, side)).save(file, "PNG")
        bombs.append(file.getvalue())
    asking = generator(url, bombs)
    while True:
        asking.opened(10, 2.0)


def soak(trial: Trial) -> Row:
    """A closed loop for long: memory and open files, every tenth of the time."""
    rows, total = [], 0
    with running(ours(trial.file), PORT, trial.pictures[0]) as run:
        for _ in range(10):
            total += len(generator(run.url, trial.pictures).closed(16, trial.seconds / 10).of(200))
            handles = len(list(Path(f"/proc/{run.process.pid}/fd").iterdir()))
            rows.append({"answers": total, "memory_mb": round(run.memory_mb(), 1), "handles": handles})
    late = rows[3:]  # caches and arenas are full by then
    slope = np.polyfit([row["answers"] for row in late], [row["memory_mb"] for row in late], 1)[0] * 100_000
    return {"answers": total, "mb_per_100000": round(float(slope), 2), "rows": rows}


TRIALS: dict[str, Callable[[Trial], Row]] = {
    each.__name__: each for each in (reference, alone, peak, steady, overload, sigterm, reloads, kills, trouble, soak)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("export", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--other", type=Path, help="of `reloads`: an export that answers differently")
    given = parser.parse_args()
    trial = Trial(given.export, given.pictures, given.seconds, given.other)
    row = {"of": given.pictures.name, "seconds": given.seconds, **TRIALS[given.trial](trial)}
    print(json.dumps(row))
    record(given.trial, row)


if __name__ == "__main__":
    main()
