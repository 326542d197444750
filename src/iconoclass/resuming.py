"""resume(): a run that was stopped or killed goes on from its newest checkpoint, to the model it would have become."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iconoclass import environment, pipeline
from iconoclass.data.dataset import Dataset, Tell, open_dataset
from iconoclass.errors import RunError, UsageError
from iconoclass.fetch import Progress
from iconoclass.models import weights
from iconoclass.run import Run, readable
from iconoclass.training.progress import Listener

if TYPE_CHECKING:
    from iconoclass.training.checkpoint import Checkpoint
    from iconoclass.training.learner import Learner


def resume(
    path: Run | Path | str,
    *,
    epochs: float | None = None,
    force: bool = False,
    offline: bool = False,
    cluster: str | None = None,
    listener: Listener | None = None,
    say: Callable[[str], None] | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
    began: float | None = None,
) -> Run:
    """A run that was stopped or killed, gone on with in its own folder from its newest checkpoint to the same model.

    epochs: so many in all, also of a complete run; without it a complete run is left as it is. force: go on although
    settings, data, versions or machine are others than before: then the result is not that of an unbroken run.
    cluster: as for `train`, of a run with several workers.
    Raises: RunError, naming every difference, or if it diverged; UsageError, if it has learned for so many epochs;
    IntegrityError, if every checkpoint is damaged; EnvironmentFault, if another process trains it; and as `train`.
    """
    began = time.monotonic() if began is None else began
    say = say or (lambda text: None)
    run = path if isinstance(path, Run) else Run.open(path)
    if run.is_complete and epochs is None:
        return run
    if run.ended_as == "diverged" and not force:
        hint = f"Train anew, with another --lr: iconoclass train --config {readable(run.config_path)}"
        raise RunError(f"{run.name} diverged, and from its last checkpoint it would again: {run.why_ended}", hint=hint)
    pipeline.refuse_what_lacks_workers(run.config, cluster)
    with run.locked():
        if run.ended_as:
            run.begin_again()
        dataset = open_dataset(run.config.data, offline=offline, tell=tell, progress=progress)
        learner = take_up(
            run, dataset, epochs=epochs, force=force, offline=offline, say=say, tell=tell, progress=progress
        )
        say(f"resume   {_where(learner)}\n")
        pipeline.learn_and_judge(learner, run, listener, say, began, cluster)
    return run


def take_up(
    run: Run,
    dataset: Dataset,
    *,
    epochs: float | None = None,
    force: bool = False,
    offline: bool = False,
    say: Callable[[str], None] = lambda text: None,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Learner:
    """The learner of a run as its newest checkpoint holds it, ready to go on. Arguments, Raises: as for `resume`."""
    say("starting Keras")
    from iconoclass.training import checkpoint

    found = checkpoint.newest(run, tell=say)
    _refuse_differences(run, dataset, found.state["config"] if found else None, force)
    return _taken_up(run, dataset, found, epochs, offline, say, tell, progress)


def _taken_up(
    run: Run,
    dataset: Dataset,
    found: Checkpoint | None,
    epochs: float | None,
    offline: bool,
    say: Callable[[str], None],
    tell: Tell | None,
    progress: Progress | None,
) -> Learner:
    """The learner as the checkpoint holds it; without one, as it was before its first step."""
    from iconoclass.training import checkpoint
    from iconoclass.training.learner import prepare
    from iconoclass.training.transfer import Eye, learn_head

    config = run.config if epochs is None else run.config.with_settings(epochs=epochs)
    if weights.are_wanted(config):
        weights.find(config, offline=offline, progress=progress)
    learner = prepare(dataset, config)
    if found:
        found.restore(learner, extended=epochs is not None)
    elif config.training.recipe == "transfer":
        say("computing features")
        learn_head(learner, Eye(learner), tell)
    if epochs is None:
        return learner
    done = learner.at.epoch * len(learner.batches) + learner.at.step
    if learner.plan.steps <= done:
        so_far = done / len(learner.batches)
        raise UsageError(f"{run.name} has learned for {so_far:g} epochs. Received: epochs={epochs:g}", hint="Say more.")
    if found:
        # The plan that it has now, before anything else changes: killed here, it is still as it was.
        checkpoint.Checkpoints(run, 0.0, say).write(learner, is_last=True)
    run.write_config(config)
    run.begin_again()
    return learner


def _where(learner: Learner) -> str:
    at = learner.at
    if learner.is_done:
        return "all is learned; judging"
    if not (at.epoch or at.step):
        return "from the beginning"
    return f"in epoch {at.epoch + 1} of {learner.epochs}, after step {at.step} of {len(learner.batches)}"


def _refuse_differences(run: Run, dataset: Dataset, config: dict[str, Any] | None, force: bool) -> None:
    """config: the settings in force when the checkpoint was written. Raises: RunError, naming what has changed."""
    if not run.is_described:
        pipeline.describe(run, run.config, dataset)
    differences = [*_differing_machine(run), *_differing_settings(run, config)]
    if dataset.fingerprint != run.dataset["fingerprint"]:
        differences.append(f"the pictures of {run.config.data.source}: some were added, changed or removed")
    if differences and not force:
        raise RunError(
            "\n  ".join([f"{run.name} would not become what it would have become without the break:", *differences])
            + "\n",
            hint="--force goes on all the same.",
        )


def _differing_machine(run: Run) -> Iterator[str]:
    then, now = run.environment, environment.describe()
    for what in ("packages", "backend", "processor", "processor_features", "threads", "python"):
        if then.get(what) != now[what]:
            was, is_now = _only(then.get(what), now[what]), _only(now[what], then.get(what))
            yield f"{what.replace('_', ' ')}: {was} then, {is_now} now"


def _only(one: Any, other: Any) -> Any:
    """What of one is not in the other, where they have parts."""
    if isinstance(one, dict) and isinstance(other, dict):
        return ", ".join(f"{key} {value}" for key, value in one.items() if other.get(key) != value) or "none"
    if isinstance(one, list) and isinstance(other, list):
        return " ".join(value for value in one if value not in other) or "none"
    return one


def _differing_settings(run: Run, then: dict[str, Any] | None) -> Iterator[str]:
    now = json.loads(run.config.model_dump_json())
    for section, values in (then or now).items():
        for name, value in values.items():
            # How many epochs there are in all may change while they are learned: the checkpoint's plan says.
            if name not in ("epochs", "budget", "checkpoint_s", "log") and now[section][name] != value:
                yield f"{name}: {value} then, {now[section][name]} in config.toml now"
