"""What is worked on by Ray's workers comes out as if it had been done here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import iconoclass as ic
from iconoclass.cluster import Cluster
from iconoclass.errors import EnvironmentFault, UsageError
from iconoclass.process import usable_cores
from iconoclass.run import Run

pytest.importorskip("ray", reason="NOT RUN: needs ray")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Cluster]:
    with Cluster("local", 2) as cluster:
        yield cluster


def test_every_call_is_answered_once_and_each_worker_keeps_to_its_cores(two_workers: Cluster) -> None:
    def cores_and_double(number: int) -> tuple[int, int]:
        return usable_cores(), 2 * number

    heard: list[tuple[int, int]] = []
    two_workers.each(cores_and_double, [(number,) for number in range(20)], heard.append)
    assert sorted(double for _, double in heard) == list(range(0, 40, 2))
    assert {cores for cores, _ in heard} == {two_workers.cores}


def test_an_error_of_ours_is_that_error_here_too(two_workers: Cluster) -> None:
    def refuse(number: int) -> None:
        raise UsageError(f"not {number}", hint="Try another.")

    with pytest.raises(UsageError, match="not 3") as caught:
        two_workers.each(refuse, [(3,)])
    assert caught.value.hint == "Try another."


def test_a_call_whose_worker_dies_is_made_again(two_workers: Cluster, tmp_path: Path) -> None:
    def die_once(flag: str) -> int:
        if not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), 9)
        return 7

    heard: list[int] = []
    two_workers.each(die_once, [(str(tmp_path / "flag"),)], heard.append)
    assert heard == [7]


def test_a_cluster_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(EnvironmentFault, match="the Ray cluster cannot be reached"):
        Cluster("127.0.0.1:1", None)


@pytest.mark.slow
def test_a_search_on_two_workers_learns_every_trial_once(tmp_path: Path) -> None:
    settings = {"model": "mlp", "recipe": "textbook", "epochs": 1, "batch_size": 128}
    heard: list[str] = []
    found = ic.tune(
        "digits", trials=6, seeds=1, cluster="local", workers=2, output=tmp_path, hear=heard.append, **settings
    )
    everything = [*found.search.trials, *found.search.repeats]
    assert [trial.number for trial in everything] == list(range(9))
    assert sorted(run.name for run in Run.all_in(found.path)) == sorted(
        found.search.run_of(trial).name for trial in everything
    )
    assert sum(line.startswith("trial") for line in heard) == 9
