"""A run can be killed anywhere and becomes the model it would have become; what cannot go on says why."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from forking import Mortal
from iconoclass import environment
from iconoclass.backend import keras
from iconoclass.config import Config
from iconoclass.data import batches
from iconoclass.data.batches import Batches
from iconoclass.data.dataset import Dataset
from iconoclass.errors import EnvironmentFault, IntegrityError, RunError, UsageError
from iconoclass.files import write_json
from iconoclass.models.catalog import build
from iconoclass.models.pretrained import BACKBONE
from iconoclass.run import Run
from iconoclass.training import checkpoint, trainer
from iconoclass.training.checkpoint import Checkpoint, Checkpoints
from iconoclass.training.learner import Learner, prepare
from iconoclass.training.progress import Listener, Now
from iconoclass.training.recipes import complete
from mortal import PLANTS, POINTS

SETTINGS: dict[str, dict[str, Any]] = {
    # A last batch that is smaller, random layers, a rate and an end that hang on the history: P17, P18.
    "textbook, with dropout and augmentation": {
        **{"data": "digits", "model": "convnet-1", "recipe": "textbook", "epochs": 3, "batch_size": 100},
        **{"dropout": 0.3, "rotate": 10, "cutmix": 1, "schedule": "plateau", "patience": 2},
    },
    "fast, with averaged weights": {
        **{"data": "digits", "model": "resnet", "width": 8, "epochs": 3, "precision": "bfloat16", "average": 0.9},
        **{"batch_size": 128},
    },
    "a backbone in two stages": {"image_size": 32, "epochs": 2, "unfreeze": 0.2, "batch_size": 8},
}
KILLS = dict(zip(SETTINGS, (24, 24, 12), strict=True))


class Trainings(Mortal):
    """tests/mortal.py at work."""

    def learn(
        self, run: Path, settings: dict[str, Any] | None = None, *, kill_s: float | None = None, **more: Any
    ) -> int:
        """The exit status. kill_s: so long after its first step it is killed; if negative, after its start."""
        after = "pid" if kill_s is not None and kill_s < 0 else "begun"
        request = {"run": str(run), "settings": settings, **more}
        return self.ask(request, kill_s if kill_s is None else abs(kill_s), after)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Trainings]:
    mortal = Trainings("mortal.py")
    yield mortal
    mortal.end()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """SETTINGS, with pictures and weights for the backbone."""
    folder = tmp_path_factory.mktemp("backbone")
    random = np.random.default_rng(0)
    for name, colour in {"blue": (40, 60, 200), "red": (200, 60, 40)}.items():
        (folder / "photos" / name).mkdir(parents=True)
        for at in range(30):
            pixels = np.clip(random.normal(colour, 30, (36, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{at:02d}.png")
    keras.utils.set_random_seed(0)
    build("mobilenet", (32, 32, 3), 2, alpha=0.25).get_layer(BACKBONE).save_weights(folder / "small.weights.h5")
    paths = {"data": str(folder / "photos"), "weights": str(folder / "small.weights.h5")}
    return {**SETTINGS, "a backbone in two stages": {**SETTINGS["a backbone in two stages"], **paths}}


Unbroken = Callable[[str], Run]


@pytest.fixture(scope="module")
def unbroken(
    mortal: Trainings, settings: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Unbroken:
    folder, made = tmp_path_factory.mktemp("unbroken"), {}

    def run(kind: str) -> Run:
        if kind not in made:
            made[kind] = Run(folder / str(len(made)))
            assert mortal.learn(made[kind].path, settings[kind], die=None) == 0
        return made[kind]

    return run


def differences(one: Run, other: Run) -> list[str]:
    """What two runs do not have in common, of all that shall be the same to the last bit."""
    same = {
        "config": one.config == other.config,
        "history": without_seconds(one) == without_seconds(other),
        "metrics": one.metrics == other.metrics,
        "predictions": one.predictions_path.read_bytes() == other.predictions_path.read_bytes(),
        "best weights": same_weights(one.model_path, other.model_path),
        "last weights": same_weights(one.last_model_path, other.last_model_path),
    }
    return [what for what, is_same in same.items() if not is_same]


def without_seconds(run: Run) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.history]


def same_weights(one: Path, other: Path) -> bool:
    pair = [keras.saving.load_model(path, compile=False).get_weights() for path in (one, other)]
    return all(a.tobytes() == b.tobytes() for a, b in zip(*pair, strict=True))


def are_two(run: Run) -> bool:
    """Whether there are two whole checkpoints and nothing beside them."""
    left = [path.suffix for path in (run.path / "checkpoints").iterdir() if path.suffix in (".npz", ".json", ".broken")]
    return sorted(left) == [".json", ".json", ".npz", ".npz"]


# -- killed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SETTINGS)
def test_killed_at_random_moments_it_becomes_the_same_model(
    kind: str, mortal: Trainings, settings: dict[str, dict[str, Any]], unbroken: Unbroken, tmp_path: Path
) -> None:
    """P1, P2, P9, P17, P18: kill -9, as of a system that is out of memory; in every run several times."""
    random, kills, runs = np.random.default_rng(len(kind)), 0, 0
    wanted = int(os.environ.get("ICONOCLASS_KILLS", KILLS[kind]))
    while kills < wanted:
        run, runs = Run(tmp_path / str(runs)), runs + 1
        asked: dict[str, Any] | None = settings[kind]
        while True:
            # One in five while it gets ready; the others within its steps.
            kill_s = -random.uniform(0, 1) if random.random() < 0.2 else random.exponential(0.06)
            status = mortal.learn(run.path, asked, kill_s=kill_s if kills < wanted else None, die=None)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
            # Before its settings were on disk there was no run, and there is nothing to go on with.
            asked = None if (run.path / "config.toml").is_file() else settings[kind]
            if asked is not None:
                shutil.rmtree(run.path, ignore_errors=True)
        assert differences(run, unbroken(kind)) == []
    print(f"{kind}: {kills} kills in {runs} runs")


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_delicate_moment_it_becomes_the_same_model(
    point: str, mortal: Trainings, unbroken: Unbroken, tmp_path: Path
) -> None:
    """P1."""
    kind = "fast, with averaged weights"
    run = Run(tmp_path / "run")
    assert mortal.learn(run.path, SETTINGS[kind], die=point) == -signal.SIGKILL
    assert not run.is_complete
    assert mortal.learn(run.path, die=None) == 0
    assert differences(run, unbroken(kind)) == []
    assert are_two(run)


@pytest.mark.parametrize("plant", PLANTS)
def test_the_sweep_finds_a_planted_bug(plant: str, mortal: Trainings, unbroken: Unbroken, tmp_path: Path) -> None:
    """A promise that no test could see broken would be none."""
    kind, point = PLANTS[plant].kind, PLANTS[plant].found_at
    run = Run(tmp_path / "run")
    assert mortal.learn(run.path, SETTINGS[kind], die=point, plant=plant) == -signal.SIGKILL
    status = mortal.learn(run.path, die=None, plant=plant)
    assert status != 0 or differences(run, unbroken(kind)) or not are_two(run)


def test_resumed_twice_from_one_moment_it_becomes_the_same_twice(
    mortal: Trainings, unbroken: Unbroken, tmp_path: Path
) -> None:
    """P16, P19: the second one sleeps for a while in between."""
    kind = "textbook, with dropout and augmentation"
    one, other = Run(tmp_path / "one"), Run(tmp_path / "other")
    assert mortal.learn(one.path, SETTINGS[kind], die="between the arrays and the manifest") == -signal.SIGKILL
    shutil.copytree(one.path, other.path)
    assert mortal.learn(one.path, die=None) == 0
    assert mortal.learn(other.path, die=None, sleep=True) == 0
    assert differences(one, other) == differences(one, unbroken(kind)) == []


# -- stopped ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return ic.load_dataset("digits")


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "SHARE", float("inf"))


class Stop(Exception):
    """What ends a training in the midst of it, as a kill would."""


class StopsAt(Listener):
    def __init__(self, epoch: int, step: int) -> None:
        self.at = epoch, step
        self.told: list[str] = []

    def moves(self, now: Now) -> None:
        if (now.epoch, now.step) == self.at:
            raise Stop

    def tells(self, line: str) -> None:
        self.told.append(line)


MLP: dict[str, Any] = {"model": "mlp", "recipe": "textbook", "epochs": 2, "checkpoint_s": 0}


def stopped(data: Dataset, folder: Path, **settings: Any) -> Run:
    """A run that ended without a word in epoch 2."""
    with pytest.raises(Stop):
        ic.train(data, output=folder, name="stopped", listener=StopsAt(2, 9), **{**MLP, **settings})
    return Run(folder / "stopped")


@pytest.fixture(scope="module")
def whole(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ic.train(digits, output=tmp_path_factory.mktemp("whole"), **MLP)


def spoil_by_a_flip(manifest: Path) -> None:
    arrays = bytearray(manifest.with_suffix(".npz").read_bytes())
    arrays[len(arrays) // 2] ^= 1
    manifest.with_suffix(".npz").write_bytes(arrays)


def spoil_a_number(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    content["state"]["at"]["step"] += 1
    write_json(manifest, content)


SPOILS: dict[str, Callable[[Path], Any]] = {
    "a bit of the arrays flipped": spoil_by_a_flip,
    "the arrays truncated": lambda manifest: os.truncate(manifest.with_suffix(".npz"), 1000),
    "the arrays empty": lambda manifest: manifest.with_suffix(".npz").write_bytes(b""),
    "the arrays gone": lambda manifest: manifest.with_suffix(".npz").unlink(),
    "the manifest truncated": lambda manifest: os.truncate(manifest, 100),
    "the manifest empty": lambda manifest: manifest.write_bytes(b""),
    "a number in the manifest changed": spoil_a_number,
    "the manifest another's": lambda manifest: manifest.write_text('{"state": [], "sha256": {}}'),
}


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("spoil", SPOILS)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    spoil: str, digits: Dataset, whole: Run, tmp_path: Path
) -> None:
    """P10."""
    run = stopped(digits, tmp_path)
    newest = run.checkpoints[-1]
    SPOILS[spoil](newest)
    said: list[str] = []
    ic.resume(run, say=said.append, listener=Listener())
    assert any(str(newest) in text and "set aside" in text for text in said)
    assert newest.with_name(newest.name + ".broken").exists()
    assert differences(run, whole) == []


@pytest.mark.usefixtures("every_step")
def test_where_every_checkpoint_is_damaged_nothing_is_touched(digits: Dataset, tmp_path: Path) -> None:
    """P11."""
    run = stopped(digits, tmp_path)
    for manifest in run.checkpoints:
        manifest.write_bytes(b"")
    before = contents(run)
    with pytest.raises(IntegrityError, match="every checkpoint of stopped is damaged") as caught:
        ic.resume(run)
    assert caught.value.exit_status == 5
    assert "train --config" in caught.value.hint
    assert contents(run) == before


def contents(run: Run) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in run.path.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_complete_run_is_left_as_it_is(whole: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """P15."""
    before = contents(whole)
    assert ic.resume(whole).is_complete
    assert contents(whole) == before


@pytest.mark.usefixtures("every_step")
def test_a_second_trainer_is_refused_and_a_dead_one_s_lock_is_not(digits: Dataset, tmp_path: Path) -> None:
    """P12, P13: the system lets go of a lock when its process dies; the number in the file says nothing."""
    run = stopped(digits, tmp_path)
    holding = (
        "from iconoclass.run import Run\nwith Run.open(PATH).locked():\n    print('held', flush=True)\n    input()"
    )
    command = [sys.executable, "-c", holding.replace("PATH", repr(str(run.path)))]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    assert run.is_locked
    with pytest.raises(EnvironmentFault, match=f"trained by another process, number {other.pid}") as caught:
        ic.resume(run)
    assert caught.value.exit_status == 4
    with other:
        other.kill()
    assert (run.path / "checkpoints" / "lock").read_text() == str(other.pid)
    assert not run.is_locked
    assert ic.resume(run, listener=Listener()).is_complete


@pytest.mark.usefixtures("every_step")
def test_what_has_changed_is_named_and_refused_unless_it_is_forced(
    digits: Dataset, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P14."""
    run = stopped(digits, tmp_path)
    described = environment.describe()
    packages = {**described["packages"], "keras": "2.0"}
    other = {**described, "threads": 64, "processor_features": ["sve"], "packages": packages}
    monkeypatch.setattr("iconoclass.environment.describe", lambda: other)
    text = (run.path / "config.toml").read_text()
    (run.path / "config.toml").write_text(text.replace("lr = 0.001", "lr = 0.01"))
    run = Run(run.path)
    with pytest.raises(RunError) as caught:
        ic.resume(run)
    said = str(caught.value)
    assert f"threads: {described['threads']} then, 64 now" in said
    assert "keras 2.0 now" in said
    assert "tensorflow" not in said.split("keras 2.0")[0].rsplit("packages", 1)[1], "what is the same is not named"
    assert "sve now" in said
    assert "lr: 0.001 then, 0.01 in config.toml now" in said
    assert not run.is_complete
    assert ic.resume(run, force=True, listener=Listener()).is_complete
    assert "best weights" in differences(run, whole)


@pytest.mark.usefixtures("every_step")
def test_other_pictures_are_refused(photos: Path, tmp_path: Path) -> None:
    """P14."""
    data = ic.load_dataset(photos, image_size=16)
    run = stopped(data, tmp_path, batch_size=2)
    (photos / "red" / "00.png").unlink()
    with pytest.raises(RunError, match="some were added, changed or removed"):
        ic.resume(run)


@pytest.mark.usefixtures("every_step")
def test_more_epochs_extend_a_complete_run_and_survive_a_kill(digits: Dataset, whole: Run, tmp_path: Path) -> None:
    """P14."""
    runs = [Run(Path(shutil.copytree(whole.path, tmp_path / name))) for name in "ab"]
    ic.resume(runs[0], epochs=4, listener=Listener())
    with pytest.raises(Stop):
        ic.resume(runs[1], epochs=4, listener=StopsAt(4, 3))
    assert not runs[1].is_complete
    ic.resume(Run(runs[1].path), listener=Listener())
    assert [row["epoch"] for row in runs[0].history] == [1, 2, 3, 4]
    assert without_seconds(runs[0])[:2] == without_seconds(whole)
    assert differences(Run(runs[0].path), Run(runs[1].path)) == []
    assert Run(runs[0].path).config.training.epochs == 4
    with pytest.raises(UsageError, match=r"has learned for 4 epochs\. Received: epochs=3"):
        ic.resume(runs[0], epochs=3)


def test_a_diverged_run_is_not_gone_on_with(digits: Dataset, tmp_path: Path) -> None:
    """P7."""
    with pytest.raises(ic.IconoclassError):
        ic.train(digits, output=tmp_path, name="x", **{**MLP, "optimizer": "sgd", "lr": 1000, "weight_decay": 1.0})
    with pytest.raises(RunError, match="x diverged, and from its last checkpoint it would again: the loss became"):
        ic.resume(tmp_path / "x")


def test_sigterm_ends_the_command_with_143_and_a_checkpoint(tmp_path: Path) -> None:
    """P4."""
    command = [sys.executable, "-m", "iconoclass", "train", "digits", "--model", "mlp", "--epochs", "10000"]
    process = subprocess.Popen([*command, "--output", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    while "epoch " not in process.stderr.readline():
        assert process.poll() is None
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    run = Run(tmp_path / "digits-mlp")
    assert f"Go on: iconoclass resume {run.path}" in err
    assert checkpoint.newest(run)


# -- faults of machine and disk ------------------------------------------------------------------------------------


def prepared(data: Dataset, folder: Path, **settings: Any) -> tuple[Learner, Run]:
    learner = prepare(data, complete(Config.of(source="digits", **{**MLP, **settings}), data))
    return learner, Run.create(folder, "x")


@pytest.mark.usefixtures("every_step")
def test_an_error_while_pictures_are_made_ready_says_where_and_the_run_goes_on(
    digits: Dataset, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5."""
    block = Batches._block

    def broken(self: Batches, positions: Any, epoch: int) -> Any:
        if epoch == 1:
            raise ZeroDivisionError("a cosmic ray")
        return block(self, positions, epoch)

    monkeypatch.setattr(Batches, "_block", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        ic.train(digits, output=tmp_path, name="x", listener=Listener(), **MLP)
    assert caught.value.__notes__ == ["in epoch 2, step 1"]
    monkeypatch.undo()
    run = ic.resume(tmp_path / "x", listener=Listener())
    assert differences(run, whole) == []


def test_pictures_that_never_come_end_the_training_and_show_where_it_hangs(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """P6."""
    monkeypatch.setattr(batches, "PATIENCE_S", 0.3)
    monkeypatch.setattr(Batches, "_block", lambda *_: time.sleep(3))
    learner, run = prepared(digits, tmp_path)
    with pytest.raises(EnvironmentFault, match=r"no pictures have come for 0 s in epoch 1, step 1") as caught:
        trainer.train(learner, run, Listener())
    assert caught.value.exit_status == 4
    assert "test_resuming.py" in capfd.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: OOM when allocating")])
def test_out_of_memory_advises_smaller_batches(error: Exception, digits: Dataset, tmp_path: Path) -> None:
    """P9."""

    def full(_: Any) -> Any:
        raise error

    learner, run = prepared(digits, tmp_path, batch_size=100)
    learner.step = type(learner.step)(learner.step.copy, full)
    with pytest.raises(EnvironmentFault, match="not enough memory for batches of") as caught:
        trainer.train(learner, run, Listener())
    assert "--batch-size 50" in caught.value.hint


def failing(monkeypatch: pytest.MonkeyPatch, which: list[int], number: int = errno.ENOSPC) -> None:
    """The so-manieth checkpoints cannot be written, from 0."""
    savez, calls = np.savez, iter(range(10**6))

    def full(path: Path, **arrays: Any) -> None:
        if next(calls) in which:
            path.write_bytes(b"half")
            raise OSError(number, os.strerror(number))
        savez(path, **arrays)

    monkeypatch.setattr(checkpoint.np, "savez", full)


@pytest.mark.usefixtures("every_step")
def test_a_full_disk_once_is_told_and_the_training_goes_on(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1."""
    failing(monkeypatch, [3, 7])
    learner, run = prepared(digits, tmp_path)
    listener = StopsAt(9, 9)
    trainer.train(learner, run, listener)
    notes = [text for text in listener.told if text.startswith("note: a checkpoint was not kept")]
    assert len(notes) == 2
    assert "the disk is full" in notes[0]
    assert len(run.checkpoints) == 2
    assert not list(run.path.rglob(".*"))


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EMFILE])
def test_a_disk_that_stays_full_or_fails_ends_the_training_with_the_last_checkpoint_whole(
    number: int, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1, D3."""
    failing(monkeypatch, [5, 6], number)
    learner, run = prepared(digits, tmp_path)
    with pytest.raises(EnvironmentFault, match="cannot write") as caught:
        trainer.train(learner, run, Listener())
    assert caught.value.exit_status == 4
    found = checkpoint.newest(run)
    assert found
    assert found.state["at"]["step"] == 5


def test_a_history_that_cannot_be_written_is_told_and_written_in_the_end(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2."""
    write, calls = Run.write_history, iter(range(100))

    def full(self: Run, history: Any) -> None:
        if next(calls) < 2:
            raise EnvironmentFault("cannot write: the disk is full")
        write(self, history)

    monkeypatch.setattr(Run, "write_history", full)
    learner, run = prepared(digits, tmp_path)
    listener = StopsAt(9, 9)
    trainer.train(learner, run, listener)
    assert sum("the history was not kept" in text for text in listener.told) == 2
    assert len(run.history) == 2


def test_a_disk_without_room_is_refused_before_anything_is_trained(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D4."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(EnvironmentFault, match=r"will need 2\d MB in .*, and 1 MB are free"):
        ic.train(digits, output=tmp_path, **MLP)
    assert not list(tmp_path.rglob("*.npz"))


def test_checkpoints_are_rarer_where_they_cost_much(digits: Dataset, tmp_path: Path) -> None:
    learner, run = prepared(digits, tmp_path)
    checkpoints = Checkpoints(run, 30.0, print)
    checkpoints.cost_s = 2.0
    checkpoints.last = time.monotonic() - 60
    learner.started = time.monotonic()
    checkpoints.offer(learner)
    checkpoints.ends_epoch(learner)
    assert not run.checkpoints, "2 s of 60 s are more than 2 %"
    checkpoints.last -= 50
    checkpoints.offer(learner)
    assert len(run.checkpoints) == 1
    learner.is_done = True
    checkpoints.ends_epoch(learner)
    assert len(run.checkpoints) == 2, "the last one is always written"
    assert learner.seconds["checkpoints"] > 0


def timeless(state: dict[str, Any]) -> dict[str, Any]:
    return json.loads(
        json.dumps({name: value for name, value in state.items() if name not in ("elapsed_s", "seconds")})
    )


def test_a_checkpoint_holds_every_variable_and_comes_back_as_it_was(digits: Dataset, tmp_path: Path) -> None:
    learner, run = prepared(digits, tmp_path, model="convnet-1", dropout=0.5, average=0.9, epochs=1)
    trainer.train(learner, run, Listener())
    found, (fresh, _) = (
        checkpoint.newest(run),
        prepared(digits, tmp_path, model="convnet-1", dropout=0.5, average=0.9, epochs=1),
    )
    assert found
    found.restore(fresh)
    again = Checkpoint.of(fresh)
    assert again.arrays.keys() == found.arrays.keys()
    assert all(np.array_equal(again.arrays[name], found.arrays[name]) for name in found.arrays)
    assert any("seed" in variable.path for variable in fresh.model.variables)
    assert timeless(again.state) == timeless(found.state)
