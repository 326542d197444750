"""Live predictions: the queue and the engine by themselves, then a real server over real sockets.

Names such as (H12) are those of the project's list of faults that it survives.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from starlette.types import Receive

import iconoclass as ic
import inference_protocol_schema as schema
from bad_worker import DIES, HANGS, NAN, SLOW
from conftest import marked
from iconoclass.errors import EnvironmentFault, IconoclassError, ImageError, IntegrityError, RunError, UsageError
from iconoclass.evaluation.attention import looked_at
from iconoclass.evaluation.explain import explain
from iconoclass.exports.verify import as_png
from iconoclass.images.prepare import prepare
from iconoclass.prediction.predictor import Predictor
from iconoclass.run import Run
from iconoclass.serving.access import Access, read_keys
from iconoclass.serving.api import State
from iconoclass.serving.batching import Batcher, BusyError, DeadlineError
from iconoclass.serving.bodies import Memory
from iconoclass.serving.calls import Call
from iconoclass.serving.engine import Answered, Engine, Lane, Watch
from iconoclass.serving.limits import Limits
from iconoclass.serving.metrics import Metrics
from iconoclass.serving.model import Model, Source
from iconoclass.serving.network import Network
from iconoclass.serving.problems import RequestError, content_of
from iconoclass.serving.server import _ignore_callers, reload
from iconoclass.serving.shedding import Shedder
from iconoclass.serving.worker import CHILD, WorkerLostError

KEY = "a-key-that-is-long-enough"


# -- the queue, without pictures and without HTTP ----------------------------------------------------------------------


class Asked:
    """Answers with ten times the number, once it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, questions: list[int]) -> list[int]:
        self.batches.append(questions)
        await self.gate.wait()
        return [10 * question for question in questions]


def later(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_lone_question_is_asked_at_once_and_those_that_come_meanwhile_go_together() -> None:
    async def scene() -> None:
        ask = Asked()
        batcher = Batcher(ask, most=3, waiting=10)
        tasks = [asyncio.create_task(batcher.answer(0, later()))]
        await settle()
        assert ask.batches == [[0]]
        tasks += [asyncio.create_task(batcher.answer(number, later())) for number in range(1, 6)]
        await settle()
        ask.gate.set()
        assert await asyncio.gather(*tasks) == [0, 10, 20, 30, 40, 50]
        assert ask.batches == [[0], [1, 2, 3], [4, 5]]

    asyncio.run(scene())


def test_who_asks_again_as_soon_as_he_has_his_answer_is_answered_at_once() -> None:
    async def scene() -> None:
        ask = Asked()
        ask.gate.set()
        batcher = Batcher(ask, most=3, waiting=10)
        assert [await batcher.answer(number, later(1)) for number in range(20)] == [10 * number for number in range(20)]

    asyncio.run(scene())


def test_cheap_questions_travel_together_and_dear_ones_side_by_side() -> None:
    async def batches(each_s: float) -> list[int]:
        sizes: list[int] = []

        async def ask(questions: list[int]) -> list[int]:
            sizes.append(len(questions))
            await asyncio.sleep(each_s * len(questions))
            return questions

        batcher = Batcher(ask, most=16, waiting=100, at_once=2)
        for _ in range(3):
            sizes.clear()
            await asyncio.gather(*(batcher.answer(number, later()) for number in range(32)))
        return sizes

    assert max(asyncio.run(batches(0.03))) == 1
    assert max(asyncio.run(batches(0.0))) >= 8


def test_a_full_queue_refuses_at_once_and_loses_nothing_that_it_has_accepted() -> None:
    """H16"""

    async def scene() -> None:
        ask = Asked()
        batcher = Batcher(ask, most=1, waiting=2)
        running = asyncio.create_task(batcher.answer(0, later()))
        await settle()
        waiting = [asyncio.create_task(batcher.answer(number, later())) for number in (1, 2)]
        await settle()
        with pytest.raises(BusyError):
            await batcher.answer(3, later())
        ask.gate.set()
        assert await asyncio.gather(running, *waiting) == [0, 10, 20]

    asyncio.run(scene())


def test_a_deadline_ends_the_wait_and_gives_the_place_back() -> None:
    """H17"""

    async def scene() -> None:
        ask = Asked()
        batcher = Batcher(ask, most=1, waiting=1)
        running = asyncio.create_task(batcher.answer(0, later()))
        await settle()
        with pytest.raises(DeadlineError):
            await batcher.answer(1, later(0.01))
        assert batcher.waiting == 0
        ask.gate.set()
        await running
        assert await batcher.answer(2, later()) == 20
        assert [1] not in ask.batches

    asyncio.run(scene())


def test_what_a_client_who_has_left_was_waiting_for_is_not_computed() -> None:
    """H8"""

    async def scene() -> None:
        ask = Asked()
        batcher = Batcher(ask, most=4, waiting=4)
        tasks = [asyncio.create_task(batcher.answer(number, later())) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        ask.gate.set()
        assert await tasks[2] == 20
        assert all(1 not in batch for batch in ask.batches)

    asyncio.run(scene())


def test_a_batch_that_fails_fails_alone() -> None:
    async def scene() -> None:
        async def ask(questions: list[int]) -> list[int]:
            if 13 in questions:
                raise DeadlineError
            return questions

        batcher = Batcher(ask, most=1, waiting=9)
        answers = await asyncio.gather(*(batcher.answer(n, later()) for n in (1, 13, 2)), return_exceptions=True)
        assert answers[0] == 1
        assert isinstance(answers[1], DeadlineError)
        assert answers[2] == 2

    asyncio.run(scene())


# -- the engine: pictures, without HTTP --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def file(exported) -> Path:
    return exported["onnx"].path


@pytest.fixture(scope="session")
def network(file: Path) -> Network:
    return Network.load(file)


@pytest.fixture(scope="session")
def model(network: Network) -> Model:
    return Model.of(network.described(), [])


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return [as_png(pixels) for pixels in ic.load_dataset("digits").test.pixels[:40]]


BAD_WORKER = (sys.executable, str(Path(__file__).parent / "bad_worker.py"))


@asynccontextmanager
async def engine_of(file: Path, child: Sequence[str] = CHILD, **limits: float) -> AsyncIterator[Engine]:
    bounds = Limits(**limits)
    engine = Engine(await Lane.open(file, bounds, child=child), bounds)
    try:
        yield engine
    finally:
        await engine.close()


def pixel_picture(first: int) -> np.ndarray:
    """Pixels that tell a bad worker what to do."""
    return np.full((8, 8, 1), first, np.uint8)


def test_every_answer_under_load_is_that_of_the_predictor(file: Path, pictures: list[bytes]) -> None:
    expected = Predictor.load(file).predict(pictures)

    async def scene() -> list:
        async with engine_of(file) as engine:
            return await asyncio.gather(*(engine.answer([picture]) for picture in pictures))

    for answered, prediction in zip(asyncio.run(scene()), expected, strict=True):
        [answer] = answered.answers
        assert np.allclose(answer.probabilities, list(prediction.probabilities.values()), atol=1e-6)
        assert answer.unknown == prediction.unknown


def test_a_large_picture_is_opened_apart_and_answered_as_the_predictor_does(file: Path) -> None:
    ramp = np.linspace(0, 255, 1_200_000).reshape(1200, 1000, 1).astype(np.uint8)
    large, broken = as_png(ramp), as_png(ramp)[:-500]
    [expected] = Predictor.load(file).predict(large)

    async def scene() -> list:
        async with engine_of(file) as engine:
            return (await engine.answer([large, broken])).answers

    answer, refused = asyncio.run(scene())
    assert np.allclose(answer.probabilities, list(expected.probabilities.values()), atol=1e-6)
    assert refused.code == "IMG_TRUNCATED"


def test_a_bad_picture_among_good_ones_is_refused_alone(file: Path, pictures: list[bytes]) -> None:
    """H12"""

    async def scene() -> Answered:
        async with engine_of(file) as engine:
            return await engine.answer([pictures[0], b"no picture", pictures[1]])

    answered = asyncio.run(scene())
    assert isinstance(answered.answers[1], ImageError)
    assert [type(answer).__name__ for answer in answered.answers] == ["Answer", "ImageError", "Answer"]


def test_a_request_is_taken_whole_or_not_at_all(file: Path, pictures: list[bytes]) -> None:
    """H16"""

    async def scene() -> None:
        async with engine_of(file, waiting=3) as engine:
            with pytest.raises(BusyError):
                await engine.answer(pictures[:4])
            assert len((await engine.answer(pictures[:3])).answers) == 3
            assert engine.accepted == 0

    asyncio.run(scene())


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(file: Path, pictures: list[bytes]) -> None:
    """I7"""

    async def scene() -> Answered:
        async with engine_of(file, pixels=63) as engine:
            return await engine.answer(pictures[:1])

    [refused] = asyncio.run(scene()).answers
    assert refused.code == "IMG_TOO_MANY_PIXELS"


def test_who_has_been_accepted_is_answered_by_the_version_that_accepted_him(file: Path) -> None:
    """H20"""
    slow = [pixel_picture(SLOW)]

    async def scene() -> None:
        async with engine_of(file, BAD_WORKER) as engine:
            old = engine.lane
            first = [asyncio.create_task(engine.ask(slow)) for _ in range(8)]
            await asyncio.sleep(0.05)
            engine.swap(await Lane.open(file, engine.limits, child=BAD_WORKER))
            second = [asyncio.create_task(engine.ask(slow)) for _ in range(8)]
            answered = await asyncio.gather(*first, *second)
            assert [each.model is old.model for each in answered] == [True] * 8 + [False] * 8
            assert old.workers.alive == 0, "the old version is let go when its last answer has gone"

    asyncio.run(scene())


def test_a_worker_that_hangs_is_replaced_and_costs_its_own_requests_alone(file: Path) -> None:
    """H17, H23"""

    async def scene() -> None:
        async with engine_of(file, BAD_WORKER, request_s=1.0) as engine:
            with pytest.raises(DeadlineError):
                await engine.ask([pixel_picture(HANGS)])
            for _ in range(4):
                assert len((await engine.ask([pixel_picture(0)])).answers) == 1
            assert engine.accepted == 0

    asyncio.run(scene())


def test_a_worker_that_dies_is_replaced_and_costs_its_own_requests_alone(file: Path) -> None:
    """H22"""
    lost: list[bool] = []

    async def scene() -> None:
        limits, watch = Limits(), Watch(lost=lambda: lost.append(True))
        engine = Engine(await Lane.open(file, limits, watch, BAD_WORKER), limits, watch)
        try:
            for _ in range(3 * limits.workers):  # more than there are: each is replaced
                with pytest.raises(WorkerLostError) as caught:
                    await engine.ask([pixel_picture(DIES)])
                assert content_of(caught.value)["status"] == 503
                assert len((await engine.ask([pixel_picture(0)])).answers) == 1
            async with asyncio.timeout(30):  # who asks may hear of it before the watch does
                while len(lost) < 3 * limits.workers:
                    await asyncio.sleep(0.01)
        finally:
            await engine.close()
        assert len(lost) == 3 * limits.workers

    asyncio.run(scene())


def test_a_worker_that_takes_anothers_place_serves_the_same_version(copied: Path) -> None:
    """H20, H22"""
    file = copied / "model.onnx"

    async def scene() -> None:
        async with engine_of(file, BAD_WORKER) as engine:
            file.write_bytes(b"something else")
            for _ in range(engine.limits.workers):
                with pytest.raises(WorkerLostError):
                    await engine.ask([pixel_picture(DIES)])
            assert len((await engine.ask([pixel_picture(0)])).answers) == 1

    asyncio.run(scene())


def test_deadlines_do_not_care_what_the_clock_on_the_wall_says(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H30"""
    jumps, wall = itertools.cycle([3600.0, -3600.0]), time.time()
    monkeypatch.setattr(time, "time", lambda: wall + next(jumps))

    async def scene() -> None:
        async with engine_of(file, request_s=5) as engine:
            for _ in range(20):
                await engine.ask([pixel_picture(0)])

    asyncio.run(scene())


def call_of(receive: Receive, **headers: str) -> Call:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Call({"path": "/predict", "method": "POST", "query_string": b"top=3&top=5", "headers": sent}, receive)


def test_a_body_that_trickles_is_given_up_at_its_deadline() -> None:
    """H7"""

    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(RequestError) as caught:
        asyncio.run(call_of(trickle).body(Limits(body_s=0.1)))
    assert content_of(caught.value)["status"] == 408


def test_of_what_is_sent_twice_the_first_counts() -> None:
    async def nothing() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {
        "path": "/",
        "method": "GET",
        "query_string": b"top=3&top=5&strict",
        "headers": [(b"host", b"a"), (b"host", b"b")],
    }
    call = Call(scope, nothing)
    assert call.headers["host"] == "a"
    assert call.query == {"top": "3", "strict": ""}


def test_bodies_together_may_not_take_more_memory_than_there_is_for_them() -> None:
    memory = Memory(100)
    with memory.share() as first, memory.share() as second:
        first(60)
        with pytest.raises(BusyError):
            second(41)
        second(40)
    with memory.share() as third:
        third(100)


def test_nan_is_an_error_and_no_label(file: Path) -> None:
    """H24"""

    async def scene() -> None:
        async with engine_of(file, BAD_WORKER) as engine:
            with pytest.raises(IconoclassError) as caught:
                await engine.ask([pixel_picture(NAN)])
            assert content_of(caught.value)["status"] == 500
            assert content_of(caught.value)["code"] == "MODEL_NAN"

    asyncio.run(scene())


def test_explanations_wait_apart_and_only_so_many(file: Path, pictures: list[bytes]) -> None:
    """H16, H17: what is asked meanwhile is answered."""
    hanging = as_png(pixel_picture(HANGS))

    async def scene() -> None:
        async with engine_of(file, BAD_WORKER, explanations=1, request_s=4.0) as engine:
            tasks = []
            for _ in range(2):  # one is under way, one waits
                tasks.append(asyncio.create_task(engine.explain(hanging)))
                await settle()
            with pytest.raises(BusyError):
                await engine.explain(pictures[0])
            for picture in pictures[:5]:
                assert len((await engine.answer([picture])).answers) == 1
            assert not any(task.done() for task in tasks)
            told = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in told] == [DeadlineError] * 2
            assert engine.accepted == 0

    asyncio.run(scene())


def test_what_cannot_be_explained_is_an_error_and_no_map(file: Path, pictures: list[bytes]) -> None:
    """H24"""

    async def scene() -> list[str]:
        async with engine_of(file, BAD_WORKER, pixels=64) as engine:
            asked = (as_png(pixel_picture(NAN)), b"no picture", as_png(np.zeros((9, 9, 1), np.uint8)))
            return [error.code for error in [await refused(engine, picture) for picture in asked]]

    async def refused(engine: Engine, picture: bytes) -> IconoclassError:
        with pytest.raises(IconoclassError) as caught:
            await engine.explain(picture)
        return caught.value

    assert asyncio.run(scene()) == ["MODEL_NAN", "IMG_NOT_IMAGE", "IMG_TOO_MANY_PIXELS"]


def test_a_network_that_answers_nan_where_something_is_hidden_has_no_map(file: Path, pictures: list[bytes]) -> None:
    """H24"""
    network = Network.load(file)
    pixels = prepare(pictures[0], network.image_shape, network.resize_rule)
    sound = network._predictor.probabilities
    network._predictor.probabilities = lambda asked: sound(asked) * (1 if len(asked) == 1 else np.float32("nan"))
    assert network.explained(pixels).code == "MODEL_NAN"


def test_a_file_that_answers_otherwise_than_when_it_was_made_is_not_served(file: Path, monkeypatch) -> None:
    """H21"""
    monkeypatch.setattr(
        "iconoclass.prediction.predictor.prepare", lambda picture, shape, rule: np.zeros(shape, np.uint8)
    )
    with pytest.raises(IntegrityError, match="golden"):
        Network.load(file)


@pytest.fixture
def copied(file: Path, tmp_path: Path) -> Path:
    """The export in a folder of its own, to be changed."""
    return Path(shutil.copytree(file.parent, tmp_path / "onnx"))


def test_a_new_version_is_served_and_a_bad_one_leaves_the_old_one(copied: Path) -> None:
    """H20, H21"""
    source = Source(copied)

    async def scene() -> str:
        async with engine_of(source.file()) as engine:
            state, before, stamp = State(engine, Metrics()), engine.lane, source.stamp
            assert await reload(source, state)
            after = engine.lane
            assert after is not before
            content = (copied / "model.onnx").read_bytes()
            (copied / "model.onnx").write_bytes(content[:-100])
            assert source.stamp != stamp
            assert not await reload(source, state)
            assert engine.lane is after
            return state.metrics.text().decode()

    text = asyncio.run(scene())
    assert 'iconoclass_reloads_total{result="served"} 1.0' in text
    assert 'iconoclass_reloads_total{result="refused"} 1.0' in text


def test_a_run_that_was_judged_anew_is_a_new_version(run, tmp_path: Path) -> None:
    source = Source(shutil.copytree(run.path, tmp_path / "run"))
    before = source.stamp
    source.run.write_calibration({**source.run.calibration, "temperature": 2.0})
    assert source.stamp != before


def test_a_folder_that_is_neither_run_nor_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        Source(tmp_path)


def test_what_a_worker_cannot_open_is_told_as_it_tells_it(exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TensorFlow"):
        asyncio.run(Lane.open(exported["keras"].path, Limits()))
    assert not list(Path(tempfile.gettempdir()).glob("iconoclass-*/model.keras")), "nothing is left behind"


# -- access ------------------------------------------------------------------------------------------------------------


def test_other_machines_need_a_key_or_somebody_who_says_that_they_do_not() -> None:
    with pytest.raises(UsageError, match="no API key"):
        Access.at("0.0.0.0", [], insecure=False, rate=None)
    Access.at("0.0.0.0", [], insecure=True, rate=None)
    Access.at("127.0.0.1", [], insecure=False, rate=None)


def test_only_the_right_key_opens_and_only_in_a_header() -> None:
    """H14"""
    access = Access([KEY, "another-key-long-enough"])
    access.admit({"authorization": f"Bearer {KEY}"})
    access.admit({"x-api-key": KEY})
    wrong: list[dict[str, str]] = [
        {},
        {"x-api-key": KEY[:-1]},
        {"authorization": f"Basic {KEY}"},
        {"x-api-key": "k" * 10_000},
    ]
    for headers in wrong:
        with pytest.raises(RequestError) as caught:
            access.admit(headers)
        assert caught.value.code == "KEY"
        assert KEY not in str(caught.value)


def test_a_key_that_asks_too_often_waits_and_the_others_do_not() -> None:
    """H15"""
    now = 100.0
    access = Access([KEY, "another-key-long-enough"], rate=2, clock=lambda: now)
    access.admit({"x-api-key": KEY})
    access.admit({"x-api-key": KEY})
    with pytest.raises(RequestError) as caught:
        access.admit({"x-api-key": KEY})
    assert caught.value.code == "RATE"
    assert caught.value.retry_s == 0.5
    access.admit({"x-api-key": "another-key-long-enough"})
    now += 0.5
    access.admit({"x-api-key": KEY})


def test_short_keys_and_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# ours\nshort\n")
    with pytest.raises(UsageError, match="fewer than 16"):
        read_keys(tmp_path / "keys")
    with pytest.raises(EnvironmentFault):
        read_keys(tmp_path / "nowhere")


# -- a real server -----------------------------------------------------------------------------------------------------


class Served:
    """`iconoclass serve` in a process of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.start([sys.executable, "-m", "iconoclass", "serve", *arguments, "--port", "0"], **environment)

    def start(self, command: list[str], **environment: str) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, **environment}, **pipes)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self.process.communicate()[1])
        self.port = int(self.url.rpartition(":")[2])

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def say(self, text: bytes, seconds: float = 5) -> bytes:
        """Raw bytes, and what comes back until the server hangs up or is silent."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=seconds)) as connection:
            connection.sendall(text)
            found = b""
            try:
                while part := connection.recv(65_536):
                    found += part
            except TimeoutError:
                pass
            return found

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture(scope="session")
def server(file: Path) -> Iterator[Served]:
    served = Served(str(file), "--max-bytes", "300000", "--max-pictures", "3", ICONOCLASS_API_KEY="")
    yield served
    assert served.stop()[0] == 0


def form(*contents: bytes, name: str = "file", file_name: str = "a.png") -> tuple[bytes, str]:
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for content in contents
    ]
    return b"".join(parts) + b"--B--\r\n", "multipart/form-data; boundary=B"


def test_a_raw_body_and_a_form_get_the_same_answer(server: Served, pictures: list[bytes]) -> None:
    """I24"""
    raw = json.loads(server.ask("POST", "/predict", pictures[0], content_type="image/png")[2])
    body, kind = form(pictures[0], pictures[1])
    status, headers, answer = server.ask("POST", "/predict", body, content_type=kind)
    several = json.loads(answer)
    assert status == 200
    assert several["request_id"] == headers["x-request-id"]
    assert [each["file"] for each in several["predictions"]] == ["a.png", "a.png"]
    first = several["predictions"][0]
    assert first["class_name"] == raw["predictions"][0]["class_name"]
    assert first["confidence"] == pytest.approx(raw["predictions"][0]["confidence"], abs=1e-6)
    assert len(first["top"]) == 5


MALFORMED = {
    "an empty body": (b"", "image/png", 400),
    "an empty form": (b"--B--\r\n", "multipart/form-data; boundary=B", 400),
    "another field": (*form(b"x", name="picture"), 400),
    "no boundary": (form(b"x")[0], "multipart/form-data", 400),
    "a boundary of 10 kB": (form(b"x")[0], "multipart/form-data; boundary=" + 10_000 * "b", 400),
    "a form that is cut off": (form(b"x" * 99)[0][:-60], "multipart/form-data; boundary=B", 400),
    "too many parts": (*form(*[b"x"] * 3_000), 400),
    "a part with a huge header": (*form(b"x", file_name=100_000 * "n"), 400),
    "an address to fetch": (b'{"url": "file:///etc/passwd"}', "application/json", 415),
    "text": (b"hello", "text/plain", 415),
    "a truncated picture": (b"\x89PNG\r\n\x1a\n" + bytes(20), "image/png", 422),
    "a body beyond the limit": (bytes(300_001), "image/png", 413),
}


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_gets_a_problem_that_says_so(server: Served, what: str, path: str) -> None:
    """H1, H2, H3, H6, H11"""
    body, kind, expected = MALFORMED[what]
    status, headers, answer = server.ask("POST", path, body, content_type=kind)
    told = json.loads(answer)
    assert (status, told["status"]) == (expected, expected), told
    assert headers["content-type"] == "application/problem+json"
    assert told["request_id"] == headers["x-request-id"]
    assert not re.search(rb"Traceback|/home|/root|site-packages|\.py", answer)


def test_a_body_without_a_length_is_cut_at_the_limit(server: Served) -> None:
    """H4"""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    assert b" 413 " in server.say(head + 6 * chunk)


@pytest.mark.parametrize("length", [b"Content-Length: 30000000", b"Transfer-Encoding: chunked"])
def test_who_is_refused_while_he_sends_reads_why_and_is_not_cut_off(server: Served, length: bytes) -> None:
    """H4"""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n" + length + b"\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=5)) as connection:
        connection.sendall(head)
        for _ in range(40):  # long after the answer
            connection.sendall(b"80000\r\n" + bytes(524_288) + b"\r\n")
            time.sleep(0.005)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
        while connection.recv(65_536):  # the rest of the answer; the server has said all
            pass
        connection.sendall(b"x")
        assert server.ask("GET", "/healthz")[0] == 200


def test_compressed_bodies_are_not_unpacked(server: Served) -> None:
    """H5"""
    assert server.ask("POST", "/predict", b"x", content_encoding="gzip")[0] == 415


def test_pages_of_other_sites_and_other_names_are_turned_away(server: Served) -> None:
    assert server.ask("GET", "/model", host="evil.example")[0] == 403
    assert server.ask("POST", "/predict", b"x", origin="https://evil.example")[0] == 403
    assert server.ask("GET", "/model", origin=f"http://127.0.0.1:{server.port}")[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "DELETE", "PUT"])
def test_other_methods_are_refused_without_a_fault(server: Served, method: str) -> None:
    """H26"""
    assert server.ask(method, "/predict")[0] == 405


def test_odd_ways_to_speak_http_are_understood(server: Served, pictures: list[bytes]) -> None:
    """H26"""
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert server.say(get + get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).count(b"200 OK") == 2
    assert b"200 OK" in server.say(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b"400" in server.say(b"nonsense\r\n\r\n")


def test_who_asks_before_he_sends_is_told_to_go_on_or_why_not(server: Served, pictures: list[bytes]) -> None:
    """H3, H26"""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=5)) as connection:
        connection.sendall(head % len(pictures[0]))
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(pictures[0])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    refused = server.say(head % 300_001)
    assert refused.startswith(b"HTTP/1.1 413 "), "and nothing of the body was waited for"


@pytest.mark.parametrize("path", ["/static/..%2fserver.py", "/static/server.py", "/static/%00", "/nothing", "/report"])
def test_nothing_but_the_pages_own_parts_is_served(server: Served, path: str) -> None:
    """H13"""
    assert server.ask("GET", path)[0] == 404


def test_every_answer_has_the_security_headers(server: Served) -> None:
    """H25"""
    for path in ("/", "/static/page.js", "/model", "/nothing"):
        _, headers, _ = server.ask("GET", path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_reaches_for_nothing_outside(server: Served) -> None:
    for part in ("/", *(f"/static/{name}" for name in ("page.css", "page.js", "asking.js", "canvas.js", "gallery.js"))):
        status, _, content = server.ask("GET", part)
        assert status == 200
        assert not re.search(rb"https?://|@import|innerHTML|eval\(", content), part


def test_a_file_name_comes_back_as_text_and_without_folders(server: Served, pictures: list[bytes]) -> None:
    """H25"""
    body, kind = form(pictures[0], file_name="../../<script>x.png")
    told = json.loads(server.ask("POST", "/predict", body, content_type=kind)[2])
    assert told["predictions"][0]["file"] == "<script>x.png"


def test_metrics_count_what_happened_and_made_up_paths_make_no_rows(server: Served) -> None:
    """H27"""
    server.ask("GET", "/made-up-by-somebody")
    text = server.ask("GET", "/metrics")[2].decode()
    assert 'route="other"' in text
    assert "made-up" not in text
    assert "iconoclass_accepted_pictures 0.0" in text


def test_no_tensorflow_is_in_the_serving_processes(server: Served) -> None:
    workers = [Path(f"/proc/{number}/maps").read_text() for number in workers_of(server)]
    assert all("onnxruntime" in maps and "tensorflow" not in maps for maps in workers)
    own = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" not in own, "what a model file does to its runtime, it does to a worker"
    assert "tensorflow" not in own


def explained(server: Served, picture: bytes) -> dict:
    status, _, answer = server.ask("POST", "/explain", picture, content_type="image/png")
    assert status == 200, answer
    return json.loads(answer)


def test_the_map_falls_on_a_planted_mark_and_is_the_one_that_explain_makes(told_marks, tmp_path: Path) -> None:
    run, file = told_marks
    [pixels] = marked(ic.load_dataset("digits").test.pixels[:1], np.ones(1, bool))
    (tmp_path / "marked.png").write_bytes(as_png(pixels))
    with serving(file) as served:
        told = explained(served, as_png(pixels))
    predictor = Predictor.load(file)
    [answer] = predictor.predict(tmp_path / "marked.png")
    assert (told["class_name"], told["unknown"]) == (answer.class_name, answer.unknown) == ("marked", None)
    assert told["confidence"] == pytest.approx(answer.confidence, abs=1e-6)
    found = np.array(told["map"]["values"])
    assert found.shape == (told["map"]["rows"], told["map"]["columns"]) == (8, 8)
    assert (found.argmax() // 8, found.argmax() % 8) >= (6, 6)
    label = predictor.class_names.index("marked")
    assert np.allclose(found, looked_at(predictor.probabilities, pixels, label), atol=6e-4)
    [same] = explain(run, [tmp_path / "marked.png"]).answers
    assert np.allclose(found, same.attention, atol=2e-3)


def test_explanations_are_made_by_a_patient_worker_that_starts_when_it_is_needed(
    file: Path, pictures: list[bytes]
) -> None:
    with serving(file) as served:
        before = set(workers_of(served))
        explained(served, pictures[0])
        [patient] = set(workers_of(served)) - before
        others = {os.getpriority(os.PRIO_PROCESS, number) for number in before}
        assert others == {os.getpriority(os.PRIO_PROCESS, served.process.pid)}
        assert os.getpriority(os.PRIO_PROCESS, patient) > max(others)
        assert "tensorflow" not in Path(f"/proc/{patient}/maps").read_text()


def closed(shape: Any) -> Any:
    """A schema that allows nothing that it does not name."""
    if isinstance(shape, list):
        return [closed(each) for each in shape]
    if not isinstance(shape, dict):
        return shape
    inside = {name: closed(each) for name, each in shape.items()}
    return {**inside, "additionalProperties": False} if shape.get("type") == "object" else inside


def test_openapi_describes_what_is_answered(server: Served, pictures: list[bytes]) -> None:
    described = json.loads(server.ask("GET", "/openapi.json")[2])["paths"]

    def fits(answer: bytes | dict, method: str, path: str, status: str = "200") -> None:
        told = answer if isinstance(answer, dict) else json.loads(answer)
        [content] = described[path][method]["responses"][status]["content"].values()
        jsonschema.validate(told, closed(content["schema"]))

    body, kind = form(pictures[0], b"no picture")
    several = server.ask("POST", "/predict", body, content_type=kind)[2]
    assert [each["status"] for each in json.loads(several)["predictions"]] == [200, 415]
    fits(several, "post", "/predict")
    fits(server.ask("POST", "/predict", pictures[0])[2], "post", "/predict")
    fits(server.ask("POST", "/predict", b"no picture")[2], "post", "/predict", "default")
    fits(explained(server, pictures[0]), "post", "/explain")
    fits(server.ask("POST", "/explain", b"")[2], "post", "/explain", "default")
    fits(server.ask("GET", "/model")[2], "get", "/model")
    assert set(described["/predict"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "image/*"}


def test_one_picture_is_explained_at_a_time(server: Served) -> None:
    body, kind = form(b"x", b"y")
    status, _, answer = server.ask("POST", "/explain", body, content_type=kind)
    assert status == 400
    assert "One picture is explained at a time. Send one." in answer.decode()


def infer(server: Served, content: object, name: str = "digits-resnet") -> tuple[int, dict]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    status, _, answer = server.ask("POST", f"/v2/models/{name}/infer", body, content_type="application/json")
    return status, json.loads(answer)


def tensor(data: object, shape: object = (1, 8, 8, 1), datatype: str = "UINT8", name: str = "pixels") -> dict:
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}


def test_the_inference_protocol_answers_as_the_model_does(
    server: Served, network: Network, model: Model, pictures: list[bytes]
) -> None:
    pixels = prepare(pictures[0], model.image_shape, model.resize_rule)
    status, told = infer(server, {**tensor(pixels.ravel().tolist()), "id": "mine"}, model.name)
    assert status == 200
    assert (told["model_name"], told["model_version"], told["id"]) == (model.name, model.version, "mine")
    [output] = told["outputs"]
    assert output["shape"] == [1, 10]
    [expected] = network.answers([pixels])
    assert np.allclose(output["data"], expected.probabilities, atol=1e-6)
    nested = infer(server, tensor(pixels[None].tolist()), model.name)[1]
    assert nested["outputs"] == told["outputs"]


def test_all_answers_of_the_inference_protocol_keep_its_schema(server: Served, model: Model) -> None:
    version = f"/v2/models/{model.name}/versions/{model.version}"
    asked = {
        "/v2": schema.SERVER,
        "/v2/": schema.SERVER,
        "/v2/health/live": schema.LIVE,
        "/v2/health/ready": schema.READY,
        f"/v2/models/{model.name}": schema.MODEL,
        version: schema.MODEL,
        f"/v2/models/{model.name}/ready": schema.MODEL_READY,
        version + "/ready": schema.MODEL_READY,
        "/v2/models/other": schema.ERROR,
    }
    for path, expected in asked.items():
        jsonschema.validate(json.loads(server.ask("GET", path)[2]), expected)
    # With all that the protocol allows in a question.
    question = tensor([0] * 128, shape=[2, 8, 8, 1]) | {
        "id": "42",
        "parameters": {},
        "outputs": [{"name": "probabilities"}],
    }
    for path in (f"/v2/models/{model.name}/infer", version + "/infer"):
        status, _, answer = server.ask("POST", path, json.dumps(question).encode(), content_type="application/json")
        assert status == 200
        jsonschema.validate(json.loads(answer), schema.INFERRED)
    jsonschema.validate(infer(server, {}, model.name)[1], schema.ERROR)


BAD_TENSORS: dict[str, object] = {
    "no JSON": b"{",
    "a key twice": b'{"inputs": [], "inputs": []}',
    "NaN": b'{"inputs": NaN}',
    "a million lists": b"[" * 100_000,
    "no inputs": {},
    "another name": tensor([0] * 64, name="x"),
    "another type": tensor([0] * 64, datatype="FP16"),
    "another shape": tensor([0] * 64, shape=[1, 64]),
    "a negative side": tensor([0] * 64, shape=[-1, 8, 8, 1]),
    "an overflowing shape": tensor([0] * 64, shape=[2**62, 8, 8, 1]),
    "too few numbers": tensor([0] * 63),
    "too large a number": tensor([256] * 64),
    "a huge number": tensor([10**400] * 64),
    "fractions": tensor([0.5] * 64),
    "words": tensor(["0"] * 64),
    "ragged lists": tensor([[0], [0, 1]]),
    "an address": tensor("file:///etc/passwd"),
}


@pytest.mark.parametrize("what", BAD_TENSORS)
def test_a_bad_inference_request_gets_400_in_the_form_of_the_protocol(server: Served, model: Model, what: str) -> None:
    """H9, H10, H11"""
    status, told = infer(server, BAD_TENSORS[what], model.name)
    assert status == 400
    assert list(told) == ["error"]


@pytest.mark.parametrize("name", ["other", "..%2fother", "%00"])
def test_another_model_is_not_found(server: Served, name: str) -> None:
    """H13"""
    assert infer(server, {}, name)[0] == 404


def test_with_a_key_nothing_but_the_shell_of_the_page_is_open(file: Path, pictures: list[bytes]) -> None:
    """H14"""
    served = Served(str(file), ICONOCLASS_API_KEY=KEY)
    try:
        assert [served.ask("GET", path)[0] for path in ("/", "/healthz", "/readyz", "/static/page.js")] == [200] * 4
        closed = [
            served.ask("GET", path)[0] for path in ("/model", "/metrics", "/v2", "/openapi.json", f"/model?key={KEY}")
        ]
        assert closed == [401] * 5
        assert served.ask("POST", "/explain", pictures[0])[0] == 401
        assert served.ask("POST", "/predict", pictures[0], authorization=f"Bearer {KEY}")[0] == 200
    finally:
        _, said = served.stop()
    assert KEY not in said


def test_sigterm_loses_nothing_that_was_accepted(file: Path, pictures: list[bytes]) -> None:
    """H18"""
    served = Served(str(file), ICONOCLASS_API_KEY="")
    found: list[int] = []
    lost: list[Exception] = []

    def client() -> None:
        while not served.process.poll():
            try:
                found.append(served.ask("POST", "/predict", pictures[0], content_type="image/png")[0])
            except ConnectionRefusedError:
                return
            except Exception as error:
                lost.append(error)
                return

    clients = [threading.Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    time.sleep(0.3)
    status, _ = served.stop()
    for each in clients:
        each.join()
    assert status == 0
    assert not lost
    assert set(found) <= {200, 503}
    assert 200 in found


def test_what_is_not_answered_before_the_drain_ends_is_counted(file: Path) -> None:
    """H18"""
    slow = io.BytesIO()
    Image.new("1", (6300, 6300)).save(slow, "PNG")
    body, kind = form(*[slow.getvalue()] * 64)
    served = Served(str(file), "--drain-s", "1", ICONOCLASS_API_KEY="")
    told: list[int] = []
    asking = threading.Thread(target=lambda: told.append(served.ask("POST", "/predict", body, content_type=kind)[0]))
    asking.start()
    while metric(served, "accepted_pictures") < 64:
        pass
    status, said = served.stop()
    asking.join()
    assert status == 143
    assert "64 pictures unanswered" in said
    assert told == [503]


def test_a_port_that_is_taken_is_told_with_4(server: Served, file: Path) -> None:
    command = [sys.executable, "-m", "iconoclass", "serve", str(file), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "error[PORT]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can drop a caller without a word")
def test_who_stands_before_a_door_that_lets_nobody_in_any_more_is_still_let_in() -> None:
    """H18: else each of them would see a reset."""
    door = socket.create_server(("127.0.0.1", 0))
    address = door.getsockname()
    early = socket.create_connection(address, timeout=5)
    _ignore_callers(door)
    with pytest.raises(TimeoutError):
        socket.create_connection(address, timeout=0.3)
    accepted, _ = door.accept()
    early.sendall(b"please")
    assert accepted.recv(6) == b"please"
    accepted.sendall(b"yes")
    assert early.recv(3) == b"yes"
    for each in (door, early, accepted):
        each.close()


# -- under trouble -----------------------------------------------------------------------------------------------------


@contextmanager
def serving(file: Path, *arguments: str) -> Iterator[Served]:
    """A server of one's own, which leaves with 0."""
    served = Served(str(file), *arguments, ICONOCLASS_API_KEY="")
    try:
        yield served
        assert served.stop()[0] == 0
    finally:
        served.process.kill()
        served.process.communicate()


def workers_of(served: Served) -> list[int]:
    """The processes that it has started."""
    own = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    if not own.exists():
        pytest.skip("needs /proc")
    return [int(number) for number in own.read_text().split()]


def hammer(served: Served, picture: bytes, clients: int, requests: int) -> tuple[list[int], list[threading.Thread]]:
    """So many clients at once, each with so many requests; the statuses that they get, in a list that grows."""
    statuses: list[int] = []

    def client() -> None:
        for _ in range(requests):
            status, _, _ = served.ask("POST", "/predict", picture, content_type="image/png")
            statuses.append(status)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    return statuses, threads


def metric(served: Served, name: str) -> float:
    text = served.ask("GET", "/metrics")[2].decode()
    return float(re.search(rf"^iconoclass_{name} (\S+)$", text, re.MULTILINE)[1])


def test_workers_that_are_killed_cost_only_what_they_were_at(file: Path, pictures: list[bytes]) -> None:
    """H22"""
    with serving(file) as served:
        there = metric(served, "workers")
        statuses, threads = hammer(served, pictures[0], clients=4, requests=150)
        for _ in range(3):
            os.kill(workers_of(served)[0], signal.SIGKILL)
            while metric(served, "workers") == there:
                pass
            while metric(served, "workers") < there:
                time.sleep(0.02)
        for thread in threads:
            thread.join()
        assert set(statuses) <= {200, 503}
        assert len(statuses) == 600
        assert statuses.count(503) <= 3 * 4, "a batch holds at most what four clients have asked"
        assert metric(served, "workers_lost_total") == 3


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_a_server_without_workers_says_that_it_is_not_ready_until_there_is_one(file: Path, path: str) -> None:
    """H22"""
    with serving(file) as served:
        for number in workers_of(served):
            os.kill(number, signal.SIGKILL)
        for status in (503, 200):
            while served.ask("GET", path)[0] != status:
                pass
        assert served.ask("GET", "/healthz")[0] == 200


def test_health_and_metrics_answer_while_everything_else_is_refused(file: Path, pictures: list[bytes]) -> None:
    """H16, H27"""
    with serving(file, "--max-waiting", "1") as served:
        statuses, threads = hammer(served, pictures[0], clients=8, requests=30)
        while any(thread.is_alive() for thread in threads):
            assert served.ask("GET", "/healthz")[0] == served.ask("GET", "/metrics")[0] == 200
        assert set(statuses) == {200, 429}
        assert metric(served, "shed_total") == statuses.count(429)


def answer_on(line: socket.socket) -> tuple[str, dict[str, str], dict]:
    """The next one: its first line, its headers, and what its JSON says."""
    answer = http.client.HTTPResponse(line)
    answer.begin()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return f"{answer.status} {answer.reason}", headers, json.loads(answer.read())


def test_who_is_refused_before_he_is_read_with_care_is_told_the_same(file: Path, pictures: list[bytes]) -> None:
    """H16"""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nContent-Length: %d\r\n\r\n"
    picture = pictures[0]
    whole = head % len(picture) + picture
    with serving(file, "--max-waiting", "1") as served, ExitStack() as stack:
        lines = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(3)]
        for line in lines:
            stack.enter_context(closing(line))
        first, quick, careful = lines
        workers = workers_of(served)
        for number in workers:
            os.kill(number, signal.SIGSTOP)
        first.sendall(whole)
        while not metric(served, "accepted_pictures"):
            pass
        for _ in range(2):  # the connection stays open
            quick.sendall(whole)
            at_once = answer_on(quick)
        careful.sendall(whole[:-3])
        time.sleep(0.2)
        careful.sendall(whole[-3:])
        with_care = answer_on(careful)
        for told in (at_once, with_care):
            del told[1]["date"]
        assert at_once == with_care
        assert at_once[0] == "429 Too Many Requests"
        assert at_once[1]["retry-after"] == "1"
        assert at_once[2]["request_id"] == at_once[1]["x-request-id"] == "mine"
        assert metric(served, "shed_total") == 3
        for number in workers:
            os.kill(number, signal.SIGCONT)
        assert answer_on(first)[0] == "200 OK"
        for line in lines:
            line.sendall(whole)
            assert answer_on(line)[0] == "200 OK"


@pytest.mark.parametrize(
    ("data", "is_whole"),
    [
        (b"POST /predict?top=3 HTTP/1.1\r\ncontent-length:5\r\n\r\nbytes", True),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nbyte", False),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nbytes and the next", False),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nbytes", False),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nbytes", False),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nbytes", False),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbytes", False),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nConnection: TE, close\r\n\r\nbytes", False),
        (b"POST /predict HTTP/1.0\r\nContent-Length: 5\r\n\r\nbytes", False),
        (b"POST /predict HTTP/1.1\r\nX: 1\r\n\r\n\r\nContent-Length: 5\r\n\r\nbytes", False),
        (b"POST /predicted HTTP/1.1\r\nContent-Length: 5\r\n\r\nbytes", False),
        (b"GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nbytes", False),
    ],
)
def test_only_a_whole_request_for_predictions_is_refused_before_it_is_read_with_care(
    data: bytes, is_whole: bool
) -> None:
    """H16"""
    engine = SimpleNamespace(limits=Limits(waiting=1), accepted=1)
    shedder = Shedder(SimpleNamespace(engine=engine, metrics=Metrics(), is_ready=True))
    assert (shedder.refusal(data, []) is not None) == is_whole


def test_too_many_explanations_are_refused_and_the_others_given(file: Path, pictures: list[bytes]) -> None:
    """H16: all come while the worker for them is still starting."""
    with serving(file) as served:
        told: list[tuple[int, dict, bytes]] = []
        asking = [
            threading.Thread(target=lambda: told.append(served.ask("POST", "/explain", pictures[0]))) for _ in range(12)
        ]
        for thread in asking:
            thread.start()
        assert {served.ask("POST", "/predict", pictures[0])[0] for _ in range(20)} == {200}
        for thread in asking:
            thread.join()
        refused = [(headers, body) for status, headers, body in told if status == 429]
        assert len(refused) == metric(served, "shed_total") > 0
        assert {headers["retry-after"] for headers, _ in refused} == {"1"}
        assert {json.loads(body)["code"] for _, body in refused} == {"BUSY"}
        given = [json.loads(body)["map"] for status, _, body in told if status == 200]
        assert len(given) == 12 - len(refused)
        assert all(each == given[0] for each in given)


def test_sigterm_waits_for_an_explanation(file: Path, pictures: list[bytes]) -> None:
    """H18"""
    told: list[int] = []
    with serving(file) as served:
        asking = threading.Thread(target=lambda: told.append(served.ask("POST", "/explain", pictures[0])[0]))
        asking.start()
        while not metric(served, "accepted_pictures"):
            pass
    asking.join()
    assert told == [200]


def memory_mb(served: Served) -> float:
    """Of the server and its workers."""
    pages = sum(
        int(Path(f"/proc/{number}/statm").read_text().split()[1])
        for number in (served.process.pid, *workers_of(served))
    )
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(served: Served) -> int:
    return sum(len(list(Path(f"/proc/{number}/fd").iterdir())) for number in (served.process.pid, *workers_of(served)))


def ask_often(served: Served, bodies: list[tuple[bytes, str, int]], count: int, clients: int = 4) -> None:
    """So many requests over connections that are kept; each must get the status that goes with its body."""
    wrong: list[tuple[int, int]] = []

    def client() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
            for at in range(count // clients):
                body, kind, expected = bodies[at % len(bodies)]
                connection.request("POST", "/predict", body, {"content-type": kind})
                answer = connection.getresponse()
                answer.read()
                if answer.status != expected:
                    wrong.append((answer.status, expected))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Every kind of request in turn, one of them of a picture of 90 kB: what is kept of one in four is seen after a few
# hundred. Of a million small ones, what is kept of each.
SOAKS = {
    "a few of every kind": (1_600, 4, 12.0),
    "a million": (1_000_000, 1_000, 10.0),
}


@pytest.mark.parametrize(
    "soak", [name if name != "a million" else pytest.param(name, marks=pytest.mark.slow) for name in SOAKS]
)
def test_memory_and_open_files_stay_as_they_are_however_many_ask(file: Path, pictures: list[bytes], soak: str) -> None:
    """H29"""
    count, small, most_mb = SOAKS[soak]
    noise = as_png(np.random.default_rng(0).integers(0, 256, (300, 300, 1)).astype(np.uint8))
    usual = (pictures[0], "image/png", 200)
    bodies = [
        *[usual] * (small - 3),
        (noise, "image/png", 200),
        (*form(*pictures[:3]), 200),
        (b"GIF", "image/png", 415),
    ]
    with serving(file) as served:
        ask_often(served, bodies, count // 3)  # until caches and arenas are full
        memory, files = memory_mb(served), open_files(served)
        ask_often(served, bodies, count)
        assert memory_mb(served) - memory < most_mb
        for _ in range(200):  # the last connections are still being closed
            if open_files(served) <= files:
                break
            time.sleep(0.02)
        assert open_files(served) <= files


def test_clients_that_leave_without_waiting_leave_nothing_behind(file: Path, pictures: list[bytes]) -> None:
    """H8"""
    with serving(file) as served:
        folder = Path(f"/proc/{served.process.pid}/fd")
        if not folder.exists():
            pytest.skip("needs /proc")
        length = f"Content-Length: {len(pictures[0])}\r\n\r\n".encode()
        whole = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + length + pictures[0]
        assert served.ask("POST", "/predict", pictures[0])[0] == 200
        before = len(list(folder.iterdir()))
        for at in range(1000):
            with closing(socket.create_connection(("127.0.0.1", served.port))) as connection:
                connection.sendall(whole if at % 2 else whole[:-20])
        while metric(served, "accepted_pictures"):
            pass
        for _ in range(200):
            if len(list(folder.iterdir())) <= before + 1:
                break
            time.sleep(0.02)
        assert len(list(folder.iterdir())) <= before + 1
        assert metric(served, "cancelled_total") > 0


IMPATIENT = """
import sys
from iconoclass.run import Run
from iconoclass.serving.access import Access
from iconoclass.serving.limits import Limits
from iconoclass.serving.server import serve
print_url = lambda url: print(url, flush=True)
serve(sys.argv[1], access=Access([]), port=0, limits=Limits(headers_s=1.0, body_s=1.0), tell=print_url)
"""


def test_two_hundred_slow_senders_are_shown_out_and_hinder_nobody(file: Path, pictures: list[bytes]) -> None:
    """H7"""
    served = Served.__new__(Served)
    served.start([sys.executable, "-c", IMPATIENT, str(file)])
    try:
        heads = [
            b"POST /predict HTTP/1.1\r\nHost: lo",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n",
        ]
        slow = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(201)]
        for at, connection in enumerate(slow):
            connection.sendall(heads[at % 3])
        assert {served.ask("POST", "/predict", pictures[0])[0] for _ in range(20)} == {200}
        ends = [connection.makefile("rb").read() for connection in slow]
        assert ends[::3] == [b""] * 67, "whose headers do not come is hung up on"
        assert all(end.startswith(b"HTTP/1.1 408") for end in ends[1::3] + ends[2::3])
        for connection in slow:
            connection.close()
        assert served.ask("POST", "/predict", pictures[0])[0] == 200
    finally:
        assert served.stop()[0] == 0


def send_on(connection: socket.socket, seconds: float) -> None:
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        connection.sendall(bytes(4096))
        time.sleep(0.01)


def test_who_is_refused_and_never_stops_sending_is_cut_off_in_the_end(file: Path) -> None:
    """H4, H7"""
    served = Served.__new__(Served)
    served.start([sys.executable, "-c", IMPATIENT, str(file)])
    try:
        with closing(socket.create_connection(("127.0.0.1", served.port), timeout=10)) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                send_on(connection, seconds=10)
    finally:
        assert served.stop()[0] == 0


def test_who_is_stopped_before_he_is_ready_leaves_nothing_behind(file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iconoclass", "serve", str(file), "--port", "0"]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("iconoclass-*/model.onnx")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_second_signal_does_not_wait(file: Path) -> None:
    """H19"""
    served = Served(str(file), ICONOCLASS_API_KEY="")
    with closing(socket.create_connection(("127.0.0.1", served.port))) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx")
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            served.process.wait(1)  # it waits for the rest of the body
        served.process.send_signal(signal.SIGTERM)
        _, said = served.process.communicate(timeout=10)
    assert served.process.returncode == 130
    assert "Traceback" not in said


def test_predictions_go_on_where_nobody_reads_what_is_logged(copied: Path, pictures: list[bytes]) -> None:
    """H28, H21"""
    served = Served(str(copied), "--watch", ICONOCLASS_API_KEY="")
    served.process.stdout.close()
    served.process.stderr.close()
    try:
        (copied / "model.onnx").write_bytes(b"no model")
        while not re.search(rb'reloads_total\{result="refused"\} 1', served.ask("GET", "/metrics")[2]):
            time.sleep(0.1)
        assert served.ask("POST", "/predict", pictures[0])[0] == 200
    finally:
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0


def test_the_first_requests_are_answered_like_all_others(file: Path, pictures: list[bytes]) -> None:
    """H31"""
    with serving(file) as served:
        statuses, threads = hammer(served, pictures[0], clients=16, requests=1)
        for thread in threads:
            thread.join()
        assert statuses == [200] * 16


def test_a_run_that_cannot_be_exported_is_not_served_and_says_all_of_why(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("exports")))
    facts = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**facts, "fingerprint": "another"}))
    with pytest.raises(IntegrityError, match="are not those that run was trained on") as caught:
        Source(copy).file()
    assert "bring back the old ones" in caught.value.hint
