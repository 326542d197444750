"""Workers that learn together become what one would have become; if one dies, the training can be gone on with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.data.batches import Batch, Batches
from iconoclass.errors import DivergedError, EnvironmentFault, Interrupted, RunError
from iconoclass.files import write_json
from iconoclass.models.catalog import build
from iconoclass.run import Run, readable
from iconoclass.training import steps
from iconoclass.training.progress import Listener, Now
from iconoclass.training.team import Team

# No batch norm and no random layers, which see each slice apart. 1,295 pictures: batches and slices of unequal size.
EXACT: dict[str, Any] = {
    **{"data": "digits", "model": "convnet-1", "recipe": "textbook", "epochs": 3, "batch_size": 100},
    **{"optimizer": "sgd", "lr": 0.05, "rotate": 10.0},
}


class Acts(Listener):
    """Does something after an epoch, and remembers what it hears."""

    def __init__(self, act: Callable[[], None] = lambda: None, epoch: int = 1) -> None:
        self.act, self.epoch = act, epoch
        self.heard: list[str] = []

    def begins(self, epochs: int, steps: int) -> None:
        self.heard.append("begins")

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        self.heard.append(f"epoch {now.epoch}")
        if now.epoch == self.epoch:
            self.act()

    def ends(self) -> None:
        self.heard.append("ends")


def weights_of(path: Path) -> list[Any]:
    return list(keras.saving.load_model(path).get_weights())


def without_seconds(run: Run) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]


# -- without Ray -----------------------------------------------------------------------------------------------------


def slices(of: int, **settings: Any) -> list[list[Batch]]:
    train = ic.load_dataset("digits").train
    asked: dict[str, Any] = {"strengths": {"rotate": 10.0}, **settings}
    return [list(Batches(train, 10, 100, 0, slice_of=(rank, of), **asked).epoch(3)) for rank in range(of)]


@pytest.mark.parametrize("workers", [2, 3])
def test_the_slices_of_the_workers_are_together_the_batches_of_one(workers: int) -> None:
    (alone,) = slices(1)
    for whole, *parts in zip(alone, *slices(workers), strict=True):
        assert np.array_equal(np.concatenate([part.pixels for part in parts]), whole.pixels)
        assert np.array_equal(np.concatenate([part.targets for part in parts]), whole.targets)
        assert {part.images for part in parts} == {whole.images} == {len(whole.pixels)}
        assert max(len(part.pixels) for part in parts) - min(len(part.pixels) for part in parts) <= 1


def test_the_mean_of_the_slices_losses_is_the_loss_of_the_batch() -> None:
    """Although slices differ in size, and classes in weight."""
    loss = keras.losses.SparseCategoricalCrossentropy()
    network = build("mlp", (8, 8, 1), 10)

    def value(batch: Batch) -> float:
        return float(loss(batch.targets, network(batch.pixels), sample_weight=batch.weights))

    settings = {"class_weights": np.linspace(0.5, 2, 10).astype(np.float32)}
    (alone,) = slices(1, **settings)
    for whole, *parts in zip(alone, *slices(3, **settings), strict=True):
        assert np.isclose(np.mean([value(part) for part in parts]), value(whole), atol=1e-6)


class Double(Team):
    """Says of everything that its mean is twice what is here."""

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        return [2 * tensor for tensor in tensors]


def test_a_step_takes_the_means_of_gradients_loss_and_statistics_over_the_team(monkeypatch: pytest.MonkeyPatch) -> None:
    (batches,) = slices(1)

    def stepped(team: Team) -> tuple[float, int, list[Any], list[Any]]:
        monkeypatch.setattr(steps, "mine", lambda: team)
        keras.utils.set_random_seed(0)
        model = build("resnet", (8, 8, 1), 10, width=8, dropout=0.0)
        optimizer = keras.optimizers.SGD(0.125)
        optimizer.build(model.trainable_variables)
        before = [np.array(variable) for variable in model.trainable_variables]
        step = steps.make_step(model, optimizer, keras.losses.SparseCategoricalCrossentropy())
        loss, hits = step.learn(step.copy(batches[0]))
        after = [np.array(variable) for variable in model.trainable_variables]
        moved = [new - old for new, old in zip(after, before, strict=True)]
        return loss, hits, moved, [np.array(value) for value in model.non_trainable_variables if "moving" in value.path]

    loss, hits, moved, statistics = stepped(Team())
    twice_loss, hits_of_two, *twice = stepped(Double(0, 2))
    # Of the right ones not the mean is told but the sum: twice as many for each of two.
    assert (twice_loss, hits_of_two) == pytest.approx((2 * loss, 4 * hits))
    for ours, others in zip([*moved, *statistics], [*twice[0], *twice[1]], strict=True):
        np.testing.assert_allclose(others, 2 * ours, atol=1e-5)


def test_several_workers_without_ray_are_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault, match="ray") as caught:
        ic.train(workers=2, output=tmp_path, **EXACT)
    assert "iconoclass[ray]" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_worker_that_sees_other_pictures_refuses_to_learn(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = pytest.importorskip("iconoclass.training.cluster")
    monkeypatch.setattr(cluster.team, "join", lambda rank, addresses: None)
    shutil.copy(run.config_path, tmp_path)
    write_json(tmp_path / "dataset.json", {**run.dataset, "fingerprint": "another"})
    with pytest.raises(RunError, match="has other pictures under digits"):
        cluster.Worker().learn(0, [], str(Path.cwd()), str(tmp_path))


# -- with Ray --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Acts]:
    """A run of two workers, and what was heard of it."""
    pytest.importorskip("ray", reason="NOT RUN: needs ray")
    heard = Acts()
    return ic.train(workers=2, output=tmp_path_factory.mktemp("together"), listener=heard, **EXACT), heard


def test_two_workers_become_the_model_that_one_becomes(together: tuple[Run, Acts], tmp_path: Path) -> None:
    """But for the rounding of sums."""
    two, heard = together
    one = ic.train(output=tmp_path, **EXACT)
    for path, other in ((two.last_model_path, one.last_model_path), (two.model_path, one.model_path)):
        for ours, theirs in zip(weights_of(path), weights_of(other), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for row, other_row in zip(without_seconds(two), without_seconds(one), strict=True):
        assert row == pytest.approx(other_row, abs=1e-5)
    assert heard.heard == ["begins", "epoch 1", "epoch 2", "epoch 3", "ends"]
    assert two.config.training.workers == two.summary["workers"] == 2
    assert two.is_complete


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it has just ended
        return any("ray::Worker" in word for word in process.cmdline())
    return False


def kill_a_worker() -> None:
    workers = [process for process in psutil.Process().children(recursive=True) if is_worker(process)]
    assert len(workers) == 2
    workers[0].kill()


@pytest.mark.slow
def test_stopped_and_killed_and_gone_on_with_it_becomes_the_same(tmp_path: Path) -> None:
    """To the last bit. So many epochs that it is not over before what was done about it arrives."""
    pytest.importorskip("ray", reason="NOT RUN: needs ray")
    settings = {**EXACT, "epochs": 40, "workers": 2, "output": tmp_path}
    interrupt = Acts(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="stopped in epoch"):
        ic.train(name="broken", listener=interrupt, **settings)
    run = Run.open(tmp_path / "broken")
    with pytest.raises(EnvironmentFault, match="a worker has died") as caught:
        ic.resume(run, listener=Acts(kill_a_worker, epoch=15))
    assert f"iconoclass resume {readable(run.path)}" in caught.value.hint
    assert not run.is_complete
    ic.resume(run)
    unbroken = ic.train(name="unbroken", **settings)
    assert without_seconds(run) == without_seconds(unbroken)
    for path, other in ((run.last_model_path, unbroken.last_model_path), (run.model_path, unbroken.model_path)):
        for ours, theirs in zip(weights_of(path), weights_of(other), strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_what_diverges_is_said_to_diverge(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="NOT RUN: needs ray")
    with pytest.raises(DivergedError, match="at a learning rate of 1e\\+03"):
        ic.train(workers=2, output=tmp_path, name="wild", **{**EXACT, "lr": 1000, "weight_decay": 1.0})
    assert Run.open(tmp_path / "wild").ended_as == "diverged"


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A real cluster of three nodes on this machine: a head that works on nothing, and two with a core each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="NOT RUN: needs ray")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_on_two_nodes_it_becomes_the_same(together: tuple[Run, Acts], nodes: Any, tmp_path: Path) -> None:
    run, (here, _) = ic.train(workers=2, cluster=nodes.address, output=tmp_path, **EXACT), together
    assert without_seconds(run) == without_seconds(here)


@pytest.mark.slow
def test_with_batch_norm_two_workers_are_as_good_as_one(tmp_path: Path) -> None:
    """Of 359 test pictures, over three seeds: the difference is less than three times its own deviation."""
    pytest.importorskip("ray", reason="NOT RUN: needs ray")
    settings = {"data": "digits", "model": "resnet", "width": 8, "epochs": 6, "output": tmp_path}
    right = {
        workers: [
            ic.train(workers=workers, seed=seed, **settings).summary["test_accuracy"]["value"] for seed in range(3)
        ]
        for workers in (1, 2)
    }
    share = np.mean(right[1])
    assert abs(np.mean(right[2]) - share) < 3 * np.sqrt(2 * share * (1 - share) / (3 * 359))
