"""What a person means by "train": look at the pictures, learn, judge, show. And "preview": look before any of it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iconoclass import environment
from iconoclass.cluster import import_ray
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, Split, Tell, open_dataset
from iconoclass.data.decisions import words_in
from iconoclass.errors import DataError, DivergedError, Interrupted, Terminated, UsageError
from iconoclass.fetch import Progress
from iconoclass.images.augment import AUGMENTATIONS, MIXES, Draws, augment
from iconoclass.models import weights
from iconoclass.run import Run, readable
from iconoclass.training.progress import All, Few, Listener, TensorBoard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from iconoclass.training.learner import Learner


def train(
    data: Dataset | Path | str | None = None,
    *,
    config: Config | Path | str | None = None,
    output: Path | str = "runs",
    name: str | None = None,
    offline: bool = False,
    compare_naive: bool = False,
    compare_decisions: bool = False,
    cluster: str | None = None,
    listener: Listener | None = None,
    say: Callable[[str], None] | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
    began: float | None = None,
    **settings: Any,
) -> Run:
    """A complete run: trained, judged and written to its own folder inside `output`.

    data: a data set, its name, or the path of a folder, CSV, .npz or archive. config: settings to start from, such as
    the config.toml of another run. settings: by their plain names, such as model="resnet", epochs=5, lr=1e-3.
    compare_naive: train a second run, NAME-naive, on a split that divides what belongs together: what does it claim?
    compare_decisions: train again without any decisions, NAME-undecided, and with each kind alone: what do they gain?
    cluster: with workers=2 or more, where they are: the address of a Ray cluster, or "local", which is the default.
    listener: hears of every step and epoch (default: a line an epoch); say: of every phase; tell, progress: of pictures
    read and bytes fetched. began: the time.monotonic() from which the run's seconds count; default: now.
    Raises: UsageError, ConfigError, DataError and their kin, before anything is trained; DivergedError; Interrupted,
    when Ctrl-C stopped it: the run then holds the best model so far.
    """
    began = time.monotonic() if began is None else began
    say = say or (lambda text: None)
    asked = weights.decide(asked_for(data, config, settings), None)
    refuse_what_lacks_workers(asked, cluster)
    if compare_decisions:
        _refuse_where_nothing_is_decided(asked)
    # The data first, TensorFlow's seconds of import later: what is wrong with the pictures is said at once.
    dataset = data if isinstance(data, Dataset) else opened(asked, offline, tell, progress)
    if compare_naive and not dataset.test_was_drawn:
        what = f"{dataset.name} has its own test part: there is no split to compare"
        raise UsageError(what, hint="Leave out --compare-naive.")
    asked = weights.decide(asked, dataset.are_photos)
    if weights.are_wanted(asked):
        weights.find(asked, offline=offline, progress=progress)
    say("starting Keras")
    from iconoclass.evaluation.attention import ASKED
    from iconoclass.evaluation.evaluator import TRAIN_SAMPLE

    if asked.training.budget:
        # Drawing comes last; imported now, the second that it costs is spent before the rest is planned.
        from iconoclass.evaluation import plots  # noqa: F401

    images_at_end = len(dataset.test) + len(dataset.validation) + min(len(dataset.train), TRAIN_SAMPLE) + ASKED
    learner, chosen = get_ready(asked, dataset, began, images_at_end, say, tell)
    whole = learner.config
    run = Run.create(Path(output), name or f"{dataset.name}-{whole.model.model}")
    with run.locked():
        describe(run, whole, dataset)
        say(_plan(whole, dataset, [*learner.said, *([("budget", chosen)] if chosen else []), *_if_killed(learner)]))
        summary = learn_and_judge(learner, run, listener, say, began, cluster)

    def again(config: Config, name: str) -> Run:
        others: dict[str, Any] = {"listener": listener, "say": say, "tell": tell, "offline": offline, "output": output}
        return train(config=config, name=name, cluster=cluster, **others)

    if compare_naive:
        say("training again, on a naive split")
        naive = again(whole.with_settings(together="none"), f"{run.name}-naive")
        summary["naive"] = {"run": naive.name, "test_accuracy": naive.summary["test_accuracy"]}
        run.finish(summary)
    if compare_decisions:
        from iconoclass.evaluation.fixes import gains

        say("training again, without what was decided")
        summary["decisions"] = gains(run, again)
        run.finish(summary)
    return run


def get_ready(
    asked: Config,
    dataset: Dataset,
    began: float,
    images_at_end: int | None,
    say: Callable[[str], None],
    tell: Tell | None = None,
) -> tuple[Learner, str]:
    """A learner before its first step, with its head fitted if it has a backbone; and what a budget chose, in a line.

    asked: decided, its weights at hand. began, images_at_end: for a budget, as in `pace.prepare_within`.
    Raises: UsageError, if a name is unknown, a setting would have no effect, or a budget is too short.
    """
    from iconoclass.training.learner import prepare
    from iconoclass.training.pace import prepare_within
    from iconoclass.training.recipes import complete
    from iconoclass.training.transfer import Eye, learn_head

    if asked.training.budget:
        say("measuring this machine")
        return prepare_within(asked, dataset, began, images_at_end, tell)
    learner = prepare(dataset, complete(asked, dataset))
    if learner.config.training.recipe == "transfer":
        say("computing features")
        learn_head(learner, Eye(learner), tell)
    return learner, ""


def learn_and_judge(
    learner: Learner,
    run: Run,
    listener: Listener | None,
    say: Callable[[str], None],
    began: float,
    cluster: str | None = None,
) -> dict[str, Any]:
    """From the first step, or from where a checkpoint has left it, to a judged run. Returns: what run.json says."""
    from iconoclass.evaluation.evaluator import evaluate

    earlier_s = learner.elapsed_s

    def seconds() -> float:
        return round(earlier_s + time.monotonic() - began, 1)

    learn(learner, run, listener or Few(sys.stdout), cluster)
    if learner.is_stopped:
        raise broken_off(learner, run)
    until_learned = seconds()
    say("judging on test, validation and train")
    report = evaluate(run, dataset=learner.dataset, tell=lambda plot: say(f"drawing {plot}"), by="train")
    took = {"seconds": seconds(), "seconds_until_learned": until_learned}
    summary = {**took, "test_accuracy": report.metrics["test"]["accuracy"], **_kept_to(learner)}
    run.finish(summary)
    return summary


def learn(learner: Learner, run: Run, listener: Listener, cluster: str | None = None) -> None:
    """Learn until the plan is done, or the learner was stopped, into the run's folder; the test part is not looked at.

    cluster: where the workers are, if there are several. Raises: DivergedError, which the run remembers.
    """
    from iconoclass.training import checkpoint, trainer

    checkpoint.refuse_if_too_full(run, learner)
    listeners: list[Listener] = [listener]
    if learner.config.training.log == "tensorboard":
        listeners.append(TensorBoard(run.log_folder))
    try:
        if learner.config.training.workers == 1:
            trainer.train(learner, run, All(listeners))
        else:
            from iconoclass.training.cluster import learn_together

            learn_together(learner, run, All(listeners), cluster)
    except DivergedError as error:
        run.note_end("diverged", error.what)
        raise
    run.write_config(learner.config)


def _refuse_where_nothing_is_decided(config: Config) -> None:
    """Raises: UsageError, if there is nothing to train without; DataError, if the file cannot be read."""
    what = config.data.decisions
    if not what:
        raise UsageError("there are no decisions to compare", hint="Give them: --decisions FILE.")
    path = Path(what).expanduser()
    if path.is_file() and not words_in(path):
        raise UsageError(f"{path} decides nothing yet", hint="Write exclude or relabel in its column decision.")


def refuse_what_lacks_workers(config: Config, cluster: str | None) -> None:
    """Raises: UsageError, if a cluster is given to one worker; EnvironmentFault, if Ray is not there for several."""
    if config.training.workers > 1:
        import_ray()
    elif cluster:
        raise UsageError(f"one worker needs no cluster. Received: {cluster}", hint="Say --workers 2, or more, too.")


def broken_off(learner: Learner, run: Run) -> Interrupted:
    """What is raised where Ctrl-C or SIGTERM has ended a training."""
    kept = f"Go on: iconoclass resume {readable(run.path)} (or judge the best so far: iconoclass evaluate)."
    kind = Terminated if learner.stopped_by == signal.SIGTERM else Interrupted
    return kind(f"stopped in epoch {learner.at.epoch + 1} of {learner.epochs}", hint=kept)


def opened(asked: Config, offline: bool, tell: Tell | None, progress: Progress | None = None) -> Dataset:
    """The pictures that a configuration asks for."""
    wanted = weights.wants_backbone(asked)
    return open_dataset(asked.data, offline=offline, tell=tell, progress=progress, for_backbone=wanted)


def _kept_to(learner: Learner) -> dict[str, Any]:
    """What run.json says of the time: seconds of the training by what they went into, and what became of a budget."""
    said: dict[str, Any] = {"training_seconds": {part: round(value, 2) for part, value in learner.seconds.items()}}
    if learner.config.training.workers > 1:
        said["workers"] = learner.config.training.workers
    if learner.budget:
        said["budget"] = {"seconds": learner.budget.seconds, "plan_changes": learner.plan.changes}
    return said


def asked_for(
    data: Dataset | Path | str | None, config: Config | Path | str | None, settings: dict[str, Any]
) -> Config:
    """What `train` is asked for by its arguments, with nothing decided yet. Raises: UsageError, ConfigError."""
    if isinstance(data, Dataset):
        named = {key: value for key, value in data.config if key in settings and settings[key] is not None}
        if named:
            raise UsageError(f"the data set is already open: {', '.join(named)} must be given to load_dataset()")
        settings = {**settings, **dict(data.config)}
    elif data is not None:
        settings = {**settings, "source": str(data)}
    if isinstance(config, Config):
        return config.with_settings(**{key: value for key, value in settings.items() if value is not None})
    if config is not None:
        return Config.read(Path(config), **settings)
    return Config.of(**{"source": "digits", **settings})


def describe(run: Run, config: Config, dataset: Dataset) -> None:
    """Everything that is known before the first step is on disk before it."""
    run.write_config(config)
    run.write_dataset(dataset.describe())
    run.write_splits(_split_rows(dataset))
    if dataset.findings is not None:
        run.write_check(dataset.findings)
    run.write_environment(environment.describe())


def _split_rows(dataset: Dataset) -> Iterator[tuple[str, str, str, str, str]]:
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    if dataset.validates_on_test:
        del splits["validation"]
    for name, split in splits.items():
        for image, label, group, digest in zip(
            split.names, split.labels.tolist(), split.groups, split.sha256, strict=True
        ):
            yield image, dataset.class_names[label], name, group, digest


def _plan(config: Config, dataset: Dataset, more: list[tuple[str, str]]) -> str:
    """What is going to happen, a line for each word of it, and one for everything that a person should know."""
    training, model = config.training, config.model
    counts = (
        f"{len(split):,} to {verb}" for verb, split in zip(("train", "validate", "test"), _parts(dataset), strict=True)
    )
    height, width, channels = dataset.image_shape
    sized = {"width": model.width, "alpha": model.alpha}
    network = f"{model.model}{''.join(f' of {word} {value:g}' for word, value in sized.items() if value)}"
    chance = {"weights": "rare classes weigh more", "sampler": "classes are drawn alike"}.get(training.balance)
    said = [
        ("data", dataset.title),
        ("", f"{', '.join(counts)}; {len(dataset.class_names)} classes"),
        *(("" if note.startswith(" ") else "note", note) for note in (*dataset.notes, *_said_of_files(dataset))),
        ("model", f"{network} on {height} x {width} {'grey' if channels == 1 else 'colour'}"),
        *([("", f"its weights: {model.weights}")] if model.weights else []),
        *([("balance", f"{chance}; epochs are compared by their {training.monitor}")] if chance else []),
        *_planned(config),
        *more,
    ]
    return "\n".join(f"{word:<8} {text}" for word, text in said)


def _if_killed(learner: Learner) -> list[tuple[str, str]]:
    """What a resumed run cannot promise here, where it cannot promise all."""
    from iconoclass.backend import repeats_exactly

    if learner.budget:
        return [("note", "a budget follows the clock: if this run is killed and resumed, its plan may be another")]
    if not repeats_exactly():
        return [("note", "if this run is killed and resumed, it may differ in the last digits: see docs/resuming.md")]
    return []


def _planned(config: Config) -> list[tuple[str, str]]:
    training = config.training
    if training.epochs is None:
        return [("recipe", f"{training.recipe}: the head alone, on features of the frozen backbone")]
    each = f", in slices for {training.workers} workers" if training.workers > 1 else ""
    return [
        ("recipe", f"{training.recipe}: {training.epochs:.3g} epochs, batches of {training.batch_size}{each}"),
        ("", f"{training.optimizer} at {training.lr:.3g} {training.schedule}, {training.precision}"),
        ("augment", ", ".join(f"{name} {strength:g}" for name, strength in config.augment if strength) or "none"),
    ]


def _parts(dataset: Dataset) -> list[Split]:
    return [dataset.train, dataset.validation, dataset.test]


def _said_of_files(dataset: Dataset) -> list[str]:
    """Every file that was left out, and why: nothing is dropped in silence."""
    findings = dataset.findings or {}
    unreadable = [f"  {bad['image']}: {bad['reason']}" for bad in findings.get("unreadable", [])]
    other = [f"  {left['image']}: {left['reason']}" for left in findings.get("left_out", [])]
    lines = []
    for title, listed in (("files cannot be read and are left out", unreadable), ("files are not used", other)):
        if listed:
            more = [f"  ... and {len(listed) - 30} more: see check.json"] if len(listed) > 30 else []
            lines += [f"{len(listed)} {title}:", *listed[:30], *more]
    return lines


# -- preview -------------------------------------------------------------------------------------------------------

# Where the recipe leaves an augmentation off, the sheet shows it at a strength that is usual elsewhere.
USUAL = {
    "flip": 0.5,
    "shift": 0.0625,
    "rotate": 15.0,
    "zoom": 0.15,
    "brightness": 0.3,
    "contrast": 0.3,
    "cutout": 0.3,
    "mixup": 0.4,
    "cutmix": 1.0,
}


def preview(data: Dataset | Path | str, *, images: int = 8, offline: bool = False, **settings: Any) -> Figure:
    """A sheet of what each augmentation does to some training pictures, and of all that are on together.

    settings: as for `train`. Strengths are those that `train` would use; what would be off is shown as such.
    """
    from iconoclass.evaluation import plots
    from iconoclass.training.recipes import complete

    asked = weights.decide(asked_for(data, None, settings), None)
    dataset = data if isinstance(data, Dataset) else opened(asked, offline, None)
    config = complete(asked, dataset)
    if not 1 <= images <= len(dataset.train):
        raise DataError(f"there are {len(dataset.train)} training pictures. Received: images={images}")
    chosen = np.linspace(0, len(dataset.train) - 1, images).astype(np.int64)
    pixels = dataset.train.take(chosen)
    targets = np.eye(len(dataset.class_names), dtype=np.float32)[dataset.train.labels[chosen]]

    def changed(strengths: dict[str, float]) -> Any:
        return augment(pixels, targets, strengths, Draws(config.training.seed, 0, chosen))[0]

    on = {name: strength for name, strength in config.augment if strength}
    rows = [("original", pixels)]
    for name in [*AUGMENTATIONS, *MIXES]:
        text = f"{name}\n{on[name]:g}" if name in on else f"{name}\noff; here {USUAL[name]:g}"
        rows.append((text, changed({name: on.get(name, USUAL[name])})))
    rows.append(("all that are on", changed(on)))
    subtitle = f"Recipe {config.training.recipe}, first epoch, seed {config.training.seed}"
    return plots.augmentations(rows, f"What augmentation does to {dataset.name}", subtitle)
