"""Training repeats itself to the last bit, keeps the best, and stops as it should."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, Split
from iconoclass.errors import DivergedError, UsageError
from iconoclass.intervals import wilson
from iconoclass.run import Run, kept_row
from iconoclass.training import trainer
from iconoclass.training.learner import Learner, prepare
from iconoclass.training.progress import Listener, Now, TensorBoard, describe
from iconoclass.training.recipes import complete
from iconoclass.training.trainer import best_epoch, is_to_be_kept


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return ic.load_dataset("digits")


def learn(data: Dataset, folder: Path, listener: Listener | None = None, **settings: Any) -> tuple[Run, Learner]:
    """A training without judging: an mlp for one epoch, unless the settings say otherwise."""
    asked = Config.of(**{"source": "digits", "model": "mlp", "epochs": 1, **settings})
    run = Run.create(folder, "x")
    return run, trainer.train(prepare(data, complete(asked, data)), run, listener or Listener())


def digest(learner: Learner) -> str:
    return hashlib.sha256(b"".join(weight.tobytes() for weight in learner.best)).hexdigest()


def kept(path: Path) -> list[Any]:
    return list(keras.saving.load_model(path, compile=False).get_weights())


def accuracy(path: Path, split: Split) -> float:
    answers = keras.saving.load_model(path, compile=False).predict(split.pixels, verbose=0)
    return float((answers.argmax(axis=1) == split.labels).mean())


# -- the same again ------------------------------------------------------------------------------------------------

WITH_EVERYTHING = {
    "textbook, with dropout and augmentation": {
        **{"model": "convnet-1", "dropout": 0.3, "shift": 0.1, "rotate": 10, "cutmix": 1.0, "batch_size": 64},
    },
    "fast, in bfloat16": {"model": "resnet", "width": 8, "epochs": 2, "precision": "bfloat16"},
}

both = pytest.mark.parametrize("name", WITH_EVERYTHING)


@both
def test_one_seed_gives_the_same_weights_to_the_last_bit_and_another_does_not(
    name: str, digits: Dataset, tmp_path: Path
) -> None:
    """P20, in one process: nothing that came before leaves a trace."""
    digests = [digest(learn(digits, tmp_path, seed=seed, **WITH_EVERYTHING[name])[1]) for seed in (3, 4, 3)]
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]


def test_one_seed_gives_the_same_weights_in_fresh_processes(tmp_path: Path) -> None:
    """P20."""
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_training import *
for number, settings in enumerate(WITH_EVERYTHING.values()):
    print(digest(learn(ic.load_dataset("digits"), Path(sys.argv[1]), seed=3, **settings)[1]))
"""
    commands = [[sys.executable, "-c", code, str(tmp_path / name)] for name in "ab"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    first, second = (process.communicate()[0].split() for process in processes)
    assert len(set(first)) == 2
    assert first == second


def test_the_config_of_a_run_repeats_it_to_the_last_bit(run: Run, tmp_path: Path) -> None:
    again = ic.train(config=run.path / "config.toml", output=tmp_path)
    assert same(again, run)


def test_data_by_name_and_as_an_open_data_set_make_the_same_run(run: Run, digits: Dataset, tmp_path: Path) -> None:
    assert same(ic.train(digits, model="resnet", width=8, epochs=6, output=tmp_path), run)


def same(one: Run, other: Run) -> bool:
    histories = [[{**row, "seconds": 0} for row in run.history] for run in (one, other)]
    return (
        one.config == other.config
        and histories[0] == histories[1]
        and one.predictions_path.read_bytes() == other.predictions_path.read_bytes()
        and all(map(np.array_equal, kept(one.model_path), kept(other.model_path)))
    )


def test_what_an_open_data_set_has_decided_cannot_be_asked_for_again(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already open: image_size"):
        ic.train(digits, image_size=16, output=tmp_path)
    assert not list(tmp_path.iterdir())


# -- settings do what they say -------------------------------------------------------------------------------------


def test_one_hot_labels_give_the_result_of_integer_labels(digits: Dataset, tmp_path: Path) -> None:
    integers, one_hot = (learn(digits, tmp_path, one_hot=one_hot)[1] for one_hot in (False, True))
    assert one_hot.batches.soft
    assert not integers.batches.soft
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(integers.best, one_hot.best, strict=True))
    assert one_hot.history[0]["loss"] == pytest.approx(integers.history[0]["loss"], abs=1e-5)


def test_label_smoothing_makes_the_network_less_certain(digits: Dataset, tmp_path: Path) -> None:
    certain, smooth = (learn(digits, tmp_path, epochs=5, label_smoothing=share)[1] for share in (0, 0.3))
    pixels = digits.test.pixels
    confidence = [learner.model.predict(pixels, verbose=0).max(axis=1).mean() for learner in (certain, smooth)]
    assert confidence[1] < confidence[0] - 0.1


def lopsided() -> Dataset:
    """440 grey pictures, of which one in eleven, a little brighter, is of the rare class."""
    random = np.random.default_rng(0)
    labels = (np.arange(440) % 11 == 0).astype(np.int32)  # one in eleven
    bright = random.normal(100 + 60 * labels[:, None, None, None], 50, (440, 1, 1, 1))
    pixels = np.clip(bright + random.normal(0, 5, (440, 8, 8, 1)), 0, 255).astype(np.uint8)
    split = Split(pixels, np.arange(440), labels, [""] * 440, [""] * 440, [""] * 440)
    config = Config.of(source="x", image_size=8, color="grey").data
    return Dataset(config, "", ["often", "rare"], split, split, split, has_mirror_images=True)


def test_balance_finds_more_of_a_rare_class_by_weights_and_by_drawing(tmp_path: Path) -> None:
    data, found = lopsided(), {}
    for balance in ("none", "weights", "sampler", "auto"):
        _, learner = learn(data, tmp_path, epochs=5, balance=balance)
        is_rare = data.test.labels == 1
        found[balance] = learner.model.predict(data.test.pixels, verbose=0).argmax(axis=1)[is_rare].mean()
    assert found["weights"] > found["none"] + 0.3
    assert found["sampler"] > found["none"] + 0.3
    assert found["auto"] == found["weights"]


def test_what_is_monitored_chooses_the_epoch(tmp_path: Path) -> None:
    """Accuracy is content with whoever calls everything the common class; macro F1 is not."""
    run, learner = learn(lopsided(), tmp_path, epochs=4)
    assert learner.config.training.monitor == "macro_f1"
    highest = max(row["val_macro_f1"] for row in run.history)
    assert run.history[best_epoch(run.history, "macro_f1") - 1]["val_macro_f1"] == highest
    rows = [{**row(0.9, 1, 1), "val_macro_f1": 0.5}, {**row(0.8, 1, 2), "val_macro_f1": 0.7}]
    assert (best_epoch(rows), best_epoch(rows, "macro_f1")) == (1, 2)
    labels = np.array([0, 0, 0, 1], np.int32)
    judgement = trainer.judged(np.eye(2, dtype=np.float32)[[0, 0, 1, 0]], labels)
    assert (judgement["accuracy"], judgement["macro_f1"]) == (0.5, pytest.approx((2 * 2 / 6 + 0) / 2))


def test_patience_stops_and_the_best_epoch_is_the_one_that_is_kept(digits: Dataset, tmp_path: Path) -> None:
    run, learner = learn(digits, tmp_path, epochs=60, patience=2, lr=0.01)
    best = best_epoch(run.history)
    assert len(run.history) == best + 2 < 60
    highest = max(row["val_accuracy"] for row in run.history)
    assert accuracy(run.model_path, digits.validation) == pytest.approx(highest)
    assert not all(map(np.array_equal, kept(run.model_path), kept(run.last_model_path))), "the last is not the best"
    assert all(map(np.array_equal, kept(run.last_model_path), learner.model.get_weights()))


def test_training_stops_once_validation_is_surely_above_the_target(digits: Dataset, tmp_path: Path) -> None:
    """Surely: the lower end of its interval, so a lucky epoch on 143 pictures does not do."""
    run, _ = learn(digits, tmp_path, epochs=40, target=0.6)
    sure = [wilson(round(row["val_accuracy"] * 143), 143).low or 0 for row in run.history]
    assert sure[-1] > 0.6
    assert all(low <= 0.6 for low in sure[:-1])
    assert len(sure) < 40


def test_a_last_epoch_may_be_broken_off(digits: Dataset, tmp_path: Path) -> None:
    """2.5 epochs are two and a half: the third one's row tells of half of it."""
    _, learner = learn(digits, tmp_path, epochs=2.5, batch_size=130)
    assert learner.plan.steps == 25
    assert [row["epoch"] for row in learner.history] == [1, 2, 3]


def test_averaged_weights_are_what_is_judged_and_kept(digits: Dataset, tmp_path: Path) -> None:
    run, learner = learn(digits, tmp_path, epochs=2, average=0.98)
    assert accuracy(run.model_path, digits.validation) == pytest.approx(max(r["val_accuracy"] for r in run.history))
    assert not all(map(np.array_equal, learner.best, learner.model.get_weights()))


def test_averaging_works_from_the_first_step(digits: Dataset, tmp_path: Path) -> None:
    """An epoch of two steps ends before there is an average."""
    run, _ = learn(digits, tmp_path, epochs=4, average=0.9, batch_size=1000)
    assert len(run.history) == 4


def row(accuracy: float, loss: float, epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}


def test_the_best_epoch_has_the_highest_validation_accuracy_and_among_equals_the_lowest_loss() -> None:
    assert best_epoch([row(0.5, 1, 1), row(0.75, 2, 2), row(0.625, 0.5, 3)]) == 2
    assert best_epoch([row(0.75, 1, 1), row(0.75, 0.5, 2), row(0.75, 0.75, 3)]) == 2
    assert best_epoch([row(0.75, 1, 1), row(0.75, 1, 2)]) == 1, "the earlier of two alike"


def chosen(schedule: str, images: int, *accuracies: float, head: float | None = None) -> int:
    """The epoch whose weights are kept of a training that had these accuracies on validation."""
    training = Config.of(source="x", schedule=schedule, monitor="accuracy").training
    history = [] if head is None else [row(head, 1, 0)]
    found = 0
    for epoch, accuracy in enumerate(accuracies, 1):
        history.append(row(accuracy, 1, epoch))
        if is_to_be_kept(history, training, images):
            found = epoch
    return found


def test_where_the_rate_falls_a_lucky_epoch_does_not_stand_before_better_trained_ones() -> None:
    """A standard error of 100 pictures at 90 % is 3 points, of 10,000 it is 0.3."""
    assert chosen("linear", 100, 0.80, 0.91, 0.89, 0.90) == 4
    assert chosen("linear", 10_000, 0.80, 0.91, 0.89, 0.90) == 2
    assert chosen("linear", 100, 0.80, 0.91, 0.60, 0.70) == 2, "overfitted is overfitted"
    assert chosen("constant", 100, 0.80, 0.91, 0.89, 0.90) == 2, "nothing says that later is better"
    assert chosen("linear", 300, 0.99, 1.0, 0.997) == 3, "none of a few pictures wrong is not certainty"
    assert chosen("triangular", 100, 0.89, 0.88, head=0.90) == 0, "the head alone needs no luck"
    assert chosen("triangular", 100, 0.92, 0.91, 0.89, head=0.90) == 2


def test_what_is_kept_is_of_the_last_row_that_says_so(digits: Dataset, tmp_path: Path) -> None:
    run, _ = learn(digits, tmp_path, model="resnet", width=8, epochs=4)
    kept = run.history[kept_row(run.history)]
    assert accuracy(run.model_path, digits.validation) == pytest.approx(kept["val_accuracy"], abs=1e-6)
    assert kept_row([row(0.5, 1, 1)]) is None


def test_what_is_trained_in_bfloat16_is_kept_as_a_float32_network(digits: Dataset, tmp_path: Path) -> None:
    run, learner = learn(digits, tmp_path, model="resnet", width=8, precision="bfloat16")
    assert "bfloat16" in {layer.compute_dtype for layer in learner.model.layers}
    saved = keras.saving.load_model(run.model_path, compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert {str(weight.dtype) for weight in saved.get_weights()} == {"float32"}


def test_event_files_for_tensorboard_hold_every_epoch(digits: Dataset, tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    learn(digits, tmp_path, TensorBoard(tmp_path / "tensorboard"), epochs=3)
    for part, names in {
        "train": {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"},
        "validation": {"epoch_loss", "epoch_accuracy"},
    }.items():
        [file] = (tmp_path / "tensorboard" / part).glob("events.out.tfevents.*")
        records = [event_pb2.Event.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(file))]
        values = [value for record in records for value in record.summary.value]
        assert {value.metadata.plugin_data.plugin_name for value in values} <= {"scalars", ""}
        written = {(value.tag, record.step) for record in records for value in record.summary.value}
        assert written == {(name, epoch) for name in names for epoch in (1, 2, 3)}


# -- when it goes wrong --------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_training_and_says_where(digits: Dataset, tmp_path: Path) -> None:
    """P7: epoch, step, learning rate, and what to try."""
    with pytest.raises(DivergedError) as caught:
        learn(digits, tmp_path, optimizer="sgd", lr=1000, weight_decay=1.0)
    assert caught.value.exit_status == 6
    assert "in epoch 1, step " in str(caught.value)
    assert "learning rate of 1e+03" in str(caught.value)
    assert "--lr 1e+02" in caught.value.hint
    assert not Run(tmp_path / "x").model_path.exists(), "there is nothing worth keeping"


class Spoiler(Listener):
    """Spoils the weights at the end of an epoch, as an overflow in its last step would."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.learner: Learner | None = None

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        if now.epoch == self.after and self.learner:
            self.learner.model.set_weights([weight * np.nan for weight in self.learner.model.get_weights()])


def test_what_was_learned_before_the_loss_became_no_number_is_kept(digits: Dataset, tmp_path: Path) -> None:
    """P7: the best finite weights and the history up to there."""
    spoiler, run = Spoiler(after=2), Run.create(tmp_path, "x")
    asked = Config.of(source="digits", model="mlp", epochs=4)
    spoiler.learner = prepare(digits, complete(asked, digits))
    with pytest.raises(DivergedError, match="in epoch 3, step 1, "):
        trainer.train(spoiler.learner, run, spoiler)
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert accuracy(run.model_path, digits.validation) == pytest.approx(max(r["val_accuracy"] for r in run.history))
    assert not run.is_complete


def test_weights_that_are_no_numbers_are_found_at_the_end_of_the_epoch_that_spoilt_them(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: each loss was finite, the network is not."""
    run_epoch = trainer.run_epoch

    def spoiling(learner: Learner, *arguments: Any) -> Now | None:
        now = run_epoch(learner, *arguments)
        learner.model.set_weights([weight * np.nan for weight in learner.model.get_weights()])
        return now

    monkeypatch.setattr(trainer, "run_epoch", spoiling)
    with pytest.raises(DivergedError, match="the loss became nan in epoch 1"):
        learn(digits, tmp_path)


class Impatient(Listener):
    """Presses Ctrl-C, so many times, in the third step of the second epoch."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.steps_seen = 0

    def moves(self, now: Now) -> None:
        self.steps_seen += now.epoch == 2
        if (now.epoch, now.step) == (2, 3):
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)


def test_ctrl_c_once_lets_the_step_finish_and_keeps_the_best_so_far(digits: Dataset, tmp_path: Path) -> None:
    """P3."""
    before = signal.getsignal(signal.SIGINT)
    impatient = Impatient(1)
    run, learner = learn(digits, tmp_path, impatient, epochs=5)
    assert learner.is_stopped
    assert impatient.steps_seen == 3
    assert len(run.history) == 1
    assert accuracy(run.model_path, digits.validation) == pytest.approx(run.history[0]["val_accuracy"])
    assert signal.getsignal(signal.SIGINT) is before, "Ctrl-C is as it was"


def test_ctrl_c_twice_stops_at_once(digits: Dataset, tmp_path: Path) -> None:
    """P3."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        learn(digits, tmp_path, Impatient(2), epochs=5)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_the_command_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    """P3, in a real process."""
    command = [sys.executable, "-m", "iconoclass", "train", "digits", "--model", "mlp", "--epochs", "10000"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr
    while "epoch " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    last = err.splitlines()[-1]
    run = Run(tmp_path / "digits-mlp")
    assert "stopped in epoch" in last
    assert f"iconoclass resume {run.path}" in last
    assert "Traceback" not in err
    assert run.model_path.is_file()
    assert not run.is_complete
    assert not list(run.path.rglob(".*")), "no temporary file is left"


# -- what is told --------------------------------------------------------------------------------------------------


def test_a_line_of_an_epoch_fits_into_80_columns_and_lines_stand_below_each_other() -> None:
    told = {"loss": 2.31, "accuracy": 0.1, "val_accuracy": 1.0}
    lines = [
        describe(told, Now(epoch, 1000, 10, 10, 2.3, 0.1, speed, 60))
        for epoch, speed in ((1, 900.0), (1000, 123_456.0))
    ]
    assert max(map(len, lines)) <= 80
    assert len({line.index("validation") for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_comes_within_a_point_of_tensorflow(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"NOT RUN: {backend} is not installed")
    command = [sys.executable, "-m", "iconoclass", "train", "digits", "--epochs", "20", "--precision", "float32"]
    accuracies = []
    for name in ("tensorflow", backend):
        environment = {**os.environ, "KERAS_BACKEND": name}
        arguments = [*command, "--output", str(tmp_path), "--name", name]
        subprocess.run(arguments, env=environment, check=True, capture_output=True)
        accuracies.append(Run.open(tmp_path / name).metrics["test"]["accuracy"]["value"])
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.01)


@pytest.mark.datasets
def test_what_learned_well_answers_well_long_before_the_rate_is_low(tmp_path: Path) -> None:
    """Where biases learned as fast as is published without a bound, some seeds of MNIST had 10 % after an epoch."""
    data = ic.load_dataset("mnist", validation_split=0.3)
    learner = prepare(data, complete(Config.of(source="mnist", model="resnet", width=16, epochs=2, seed=1), data))
    trainer.train(learner, Run.create(tmp_path, "mnist"), Listener())
    assert min(row["val_accuracy"] for row in learner.history) > 0.95
