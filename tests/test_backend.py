"""What the machine can do is read off it, not assumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iconoclass import backend

ALL_CORES = backend.usable_cores(Path("no such folder"))


def _in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_our_program_does_not_wait_for_scikit_learn_which_it_can_still_import() -> None:
    code = "import iconoclass.cli.main, iconoclass.backend, sys; print('sklearn' in sys.modules); import sklearn.svm"
    assert _in_a_fresh_process(code) == "False"


def test_in_a_program_of_the_users_keras_finds_scikit_learn() -> None:
    code = "import iconoclass as ic, iconoclass.backend, keras.src.wrappers.fixes as f; print(f.sklearn is not None)"
    assert _in_a_fresh_process(code) == "True"


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("6400000 100000", None)]
)
def test_a_container_is_not_given_more_threads_than_it_may_run(quota: str, cores: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert backend.usable_cores(tmp_path) == (cores or ALL_CORES)


@pytest.mark.parametrize("text", [None, "", "nonsense", "1 2 3"])
def test_without_a_quota_that_can_be_read_all_cores_count(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert backend.usable_cores(tmp_path) == ALL_CORES


@pytest.mark.parametrize(
    ("features", "has"),
    [({"avx512f", "avx512_bf16"}, True), ({"amx_bf16"}, True), ({"avx512f"}, False), (set(), False)],
)
def test_bfloat16_is_used_where_the_processor_has_it_and_nowhere_else(
    features: set[str], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "processor_features", lambda: frozenset(features))
    assert backend.processor_has_bfloat16() is has


@pytest.mark.skipif(backend.BACKEND != "tensorflow", reason="builds no graph of its own there")
def test_one_graph_answers_batches_of_every_size() -> None:
    keras, calls = backend.keras, []

    class Counted(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            calls.append(x.shape)
            return x / 255

    inputs = keras.Input((2, 2, 1))
    ask = backend.as_function(keras.Model(inputs, [Counted()(inputs), inputs]))
    calls.clear()
    pixels = np.arange(20, dtype=np.uint8).reshape(5, 2, 2, 1)
    for count in (5, 1, 3):
        scaled, plain = ask(pixels[:count])
        assert np.allclose(scaled, pixels[:count] / 255)
        assert np.array_equal(plain, pixels[:count])
    assert len(calls) == 1


def test_saving_a_layer_does_not_make_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keras = backend.keras

    def network() -> Any:
        return keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2) for _ in range(20))])

    network().save(tmp_path / "first.keras")
    made, one, init = [], network(), keras.Layer.__init__
    monkeypatch.setattr(keras.Layer, "__init__", lambda self, *a, **k: made.append(type(self)) or init(self, *a, **k))
    one.save(tmp_path / "second.keras")
    assert keras.Layer not in made
