"""The command line: results on stdout, the rest on stderr, an exit status for each kind of end, never a traceback.

Most commands run in this process, through the same `main` as outside; where streams, signals or a fresh interpreter
matter, a real process is started.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import iconoclass
from iconoclass.cli import main as cli
from iconoclass.data.catalog import DATASETS
from iconoclass.exports.delivery import Export
from iconoclass.models.catalog import MODELS
from iconoclass.run import Run

TOP: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
BELOW = {
    f"{name} {below}": verb for name, group in TOP.items() for below, verb in getattr(group, "commands", {}).items()
}
VERBS = TOP | BELOW
ICONOCLASS = [sys.executable, "-m", "iconoclass"]

Said = tuple[int, str, str]
Ask = Callable[..., Said]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """(exit status, stdout, stderr) of a command, whose arguments are given one by one."""

    def ask(*arguments: object, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "argv", ["iconoclass", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(left.value.code or 0), said.out, said.err

    return ask


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures, one with a difficult name, and one file that is none."""
    folder = tmp_path / "some pictures"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("a.png", "-b.png", "more/c.png"):
        Image.fromarray(random.integers(0, 256, (9, 9), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


# -- train, in a real process and a poor terminal ------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """L5: piped, LANG=C, NO_COLOR, 40 columns."""
    poor = {"LANG": "C", "LC_ALL": "C", "NO_COLOR": "1", "COLUMNS": "40", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return subprocess.run(
        [*ICONOCLASS, "train", "digits", "--model", "mlp", "--epochs", "2"],
        cwd=tmp_path_factory.mktemp("here"),
        env={**os.environ, **poor},
        capture_output=True,
        text=True,
        check=False,
    )


def test_train_ends_well_and_its_last_line_on_stdout_is_the_runs_path(
    trained: subprocess.CompletedProcess[str],
) -> None:
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.splitlines()[-1] == "runs/digits-mlp"


def test_stdout_of_train_holds_the_result_and_nothing_of_the_way_to_it(
    trained: subprocess.CompletedProcess[str],
) -> None:
    assert "accuracy" in trained.stdout
    assert "epoch" not in trained.stdout
    assert "next:" not in trained.stdout


def test_stderr_of_train_holds_our_lines_only(trained: subprocess.CompletedProcess[str]) -> None:
    """Nothing of what TensorFlow, Keras and their native libraries log."""
    ours = re.compile(r"(data|note|model|balance|recipe|augment|epoch|trained for|next:) | {9}\S")
    foreign = [line for line in trained.stderr.splitlines() if not ours.match(line)]
    assert foreign == []
    assert len(re.findall("^epoch ", trained.stderr, re.MULTILINE)) == 2
    assert "next: " in trained.stderr.splitlines()[-1]


def test_in_a_pipe_nothing_is_coloured(trained: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in trained.stdout + trained.stderr


def test_train_in_json_is_json_and_nothing_else(ask: Ask, tmp_path: Path) -> None:
    status, out, _ = ask("train", "digits", "--model", "mlp", "--epochs", 1, "--output", tmp_path, "--json")
    content = json.loads(out)
    assert status == 0
    assert content["run"] == str(tmp_path / "digits-mlp")
    assert 0 <= content["test"]["accuracy"]["value"] <= 1


def test_a_second_training_leaves_the_first_one_alone(ask: Ask, tmp_path: Path) -> None:
    """L3."""
    for name in ("mine", "mine-2"):
        status, out, _ = ask("train", "--model", "mlp", "--epochs", 1, "--output", tmp_path, "--name", "mine")
        assert status == 0
        assert out.splitlines()[-1] == str(tmp_path / name)


def test_evaluate_says_what_train_said(ask: Ask, run: Run) -> None:
    status, out, _ = ask("evaluate", run.path)
    assert status == 0
    assert f"{run.metrics['test']['accuracy']['value']:.1%}" in out
    assert json.loads(ask("evaluate", run.path, "--json")[1])["test"] == run.metrics["test"]


# -- predict -------------------------------------------------------------------------------------------------------


def images(out: str) -> list[str]:
    return [json.loads(line)["image"] for line in out.splitlines()]


def test_files_folders_patterns_and_a_list_on_stdin_are_asked_about(ask: Ask, run: Run, pictures: Path) -> None:
    """L9: spaces and a leading dash among them."""
    one, all_three = str(pictures / "a.png"), [str(pictures / name) for name in ("-b.png", "a.png", "more/c.png")]
    assert images(ask("predict", run.path, one, "--json")[1]) == [one]
    assert images(ask("predict", run.path, pictures, "--json")[1]) == all_three
    assert images(ask("predict", run.path, pictures / "*.png", "--json")[1]) == all_three[:2]
    assert images(ask("predict", run.path, pictures / "**" / "*.png", "--json")[1]) == all_three
    listed = "\n".join(all_three) + "\n\n"
    assert images(ask("predict", run.path, "-", "--json", stdin=listed)[1]) == all_three


def test_a_name_that_begins_with_a_dash_can_be_given(
    ask: Ask, run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L9."""
    monkeypatch.chdir(pictures)
    assert images(ask("predict", run.path, "--json", "--", "-b.png")[1]) == ["-b.png"]


def test_the_formats_hold_the_same_answers(ask: Ask, run: Run, pictures: Path) -> None:
    files = [pictures / "a.png", pictures / "more/c.png"]
    rows = [json.loads(line) for line in ask("predict", run.path, *files, "--format", "jsonl")[1].splitlines()]
    table = ask("predict", run.path, *files)[1].splitlines()
    cells = list(csv.DictReader(io.StringIO(ask("predict", run.path, *files, "--format", "csv")[1])))
    assert len(rows) == len(table) == len(cells) == 2
    for row, line, cell in zip(rows, table, cells, strict=True):
        assert row["image"] in line
        assert line.startswith("unknown" if row["unknown"] else row["class_name"])
        assert row["unknown"] or f"{row['confidence']:.1%}  {row['image']}" in line
        assert (row["unknown"] or "") == cell["unknown"]
        assert cell["image"] == row["image"]
        assert cell["class_name"] == row["class_name"]
        assert float(cell["probability_2"]) == pytest.approx(row["top"][1]["probability"], abs=1e-6)
        assert len(row["top"]) == 3
    assert len(json.loads(ask("predict", run.path, files[0], "--json", "--top-k", 99)[1])["top"]) == 10


def test_one_bad_file_is_told_on_stderr_and_the_others_are_answered(ask: Ask, run: Run, pictures: Path) -> None:
    """I1."""
    (pictures / "empty.png").touch()
    names = ("a.png", "empty.png", "notes.txt", "none.png", "-b.png")
    status, out, err = ask("predict", run.path, "--json", "--", *(pictures / name for name in names))
    assert status == 3
    assert images(out) == [str(pictures / "a.png"), str(pictures / "-b.png")]
    for name in ("empty.png", "notes.txt", "none.png"):
        assert name in err
    told = json.loads(err.splitlines()[-1])["error"]
    assert told["code"] == "DATA"
    assert "3 of 5 files could not be read" in told["message"]


@pytest.mark.parametrize("pattern", ["*.nothing", "nowhere/*", "empty"])
def test_what_leads_to_no_picture_is_exit_status_3(pattern: str, ask: Ask, run: Run, pictures: Path) -> None:
    """L9."""
    (pictures / "empty").mkdir()
    status, out, err = ask("predict", run.path, pictures / pattern)
    assert (status, out) == (3, "")
    assert str(pictures / pattern) in err


def test_control_signs_in_a_files_name_do_not_reach_the_terminal(ask: Ask, run: Run, pictures: Path) -> None:
    """F11."""
    (pictures / "a.png").rename(pictures / "\x1b[31mred\n.png")
    (pictures / "\x1b[2Jbad.png").touch()
    _, out, err = ask("predict", run.path, pictures)
    assert "\x1b" not in out + err
    assert "red" in out
    assert "bad" in err


@pytest.mark.parametrize("form", ["table", "csv"])
def test_a_reader_who_has_seen_enough_may_leave(form: str, run: Run, tmp_path: Path) -> None:
    """L5: `iconoclass predict ... | head`."""
    for place in range(300):
        Image.new("L", (8, 8), place % 256).save(tmp_path / f"{place:03d}.png")
    command = shlex.join([*ICONOCLASS, "predict", str(run.path), str(tmp_path), "--format", form])
    script = f"({command}; echo status $? >&2) | head -n 1"
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert len(answer.stdout.splitlines()) == 1
    assert answer.stderr in {"status 141\n", "status 0\n"}


@pytest.mark.parametrize(("arguments", "status"), [("runs --output /none", 3), ("train --epoch 1", 2), ("cache", 0)])
def test_the_exit_status_is_the_same_where_nobody_reads_the_error(arguments: str, status: int) -> None:
    nobody, stderr = os.pipe()
    os.close(nobody)
    command = [*ICONOCLASS, *arguments.split()]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stderr, check=False).returncode == status
    os.close(stderr)


# -- the other verbs -----------------------------------------------------------------------------------------------


def test_models_and_datasets_list_every_entry(ask: Ask) -> None:
    for verb, table in (("models", MODELS), ("datasets", DATASETS)):
        status, out, _ = ask(verb)
        assert status == 0
        for name in table:
            assert re.search(rf"^{name}\b", out, re.MULTILINE), name
        assert max(map(len, out.splitlines())) <= 80
        assert {row["name"] for row in json.loads(ask(verb, "--json")[1])} == table.keys()


def test_doctor_says_that_all_is_well(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICONOCLASS_DATA", raising=False)
    status, out, err = ask("doctor")
    assert status == 0
    assert out.endswith("\nAll is well.\n")
    assert err == "next: iconoclass train\n"
    assert "✗" not in out
    for word in ("python", "packages", "backend", "processor", "memory", "cache", "data sets"):
        assert f"✓ {word} " in out
    assert all(finding["is_well"] for finding in json.loads(ask("doctor", "--json")[1]))


def test_doctor_says_what_is_not_well_and_what_to_do(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICONOCLASS_DATA", str(tmp_path / "nowhere"))
    status, out, err = ask("doctor")
    assert status == 4
    assert "✗ data sets" in out
    assert "Correct or unset ICONOCLASS_DATA" in out
    assert "not well: data sets" in err


def test_preview_writes_a_picture_and_says_where(ask: Ask, tmp_path: Path) -> None:
    status, out, _ = ask("preview", "digits", "--images", 3, "--rotate", 20, "--output", tmp_path / "sheet.png")
    assert (status, out) == (0, f"{tmp_path / 'sheet.png'}\n")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 200


# -- help ----------------------------------------------------------------------------------------------------------


def help_of(verb: str, columns: int = 80) -> str:
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    command = [*ICONOCLASS, *verb.split(), "--help"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example_and_every_option_and_is_not_cut(verb: str) -> None:
    text = help_of(verb)
    assert f"iconoclass {verb}" in text.replace("Usage: iconoclass", "")
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for option in (option for parameter in VERBS[verb].params for option in parameter.opts):
        assert not option.startswith("--") or option in text, option


def test_help_of_every_verb_loads_neither_tensorflow_nor_numpy() -> None:
    code = f"""
import sys
from iconoclass.cli.main import main
for verb in {list(VERBS)!r}:
    sys.argv = ["iconoclass", *verb.split(), "--help"]
    try:
        main()
    except SystemExit as left:
        assert not left.code, verb
print("LOADED", *sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not set(out.split("LOADED ")[1].split()) & {"tensorflow", "keras", "numpy", "matplotlib", "PIL"}


def test_help_survives_a_narrow_terminal() -> None:
    """L5."""
    assert "--epochs" in help_of("train", columns=40)


def test_without_a_verb_there_is_help_and_no_error(ask: Ask) -> None:
    status, out, err = ask()
    assert (status, err) == (0, "")
    assert "train" in out


def test_the_version_is_told(ask: Ask) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", ask("--version")[1])


# -- files that leave ----------------------------------------------------------------------------------------------


def test_export_prints_what_was_proven_and_where_it_is(ask: Ask, run: Run, tmp_path: Path) -> None:
    status, out, err = ask("export", run.path, "--format", "onnx", "--output", tmp_path)
    assert status == 0
    assert "pictures have the same answer" in out
    assert out.splitlines()[-1] == str(tmp_path / "onnx" / "model.onnx")
    assert "proof.html" in err
    [made] = json.loads(ask("export", run.path, "--format", "onnx", "--output", tmp_path, "--json")[1])
    assert made["proof"]["holds"]


def test_an_exported_file_is_asked_judged_and_verified_as_a_run_is(
    ask: Ask, run: Run, exported: dict[str, Export], pictures: Path
) -> None:
    for name in ("onnx", "litert"):
        file = exported[name].path
        of_run, of_file = (
            [json.loads(line) for line in ask("predict", path, pictures, "--json")[1].splitlines()]
            for path in (run.path, file)
        )
        assert [answer["class_name"] for answer in of_file] == [answer["class_name"] for answer in of_run]
        assert "examples" in ask("evaluate", file, "--data", "digits")[1]
        assert ask("evaluate", file)[0] == 2
        assert "answers as it did when it was made\n  golden pictures  4 of 4;" in ask("verify", file)[1]
        assert json.loads(ask("verify", file, "--json")[1])["golden"] == 4


def test_a_damaged_export_is_exit_status_5(ask: Ask, exported: dict[str, Export], pictures: Path) -> None:
    """M1."""
    damaged = pictures / "model.onnx"
    damaged.write_bytes(exported["onnx"].path.read_bytes()[:-9])
    status, out, err = ask("predict", damaged, pictures / "a.png")
    assert (status, out) == (5, "")
    assert "error[MODEL_HASH]" in err


# -- mistakes ------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("trian", 2, "Did you mean 'train'"),
    ("train --epoch 3", 2, "--epochs"),
    ("train --group-by patient", 2, "must be folder:2"),
    ("train --group-by folder:2", 2, "no --group-by"),
    ("check", 2, "Missing argument"),
    ("check digits", 3, "comes as arrays"),
    ("check nowhere", 3, "no path 'nowhere'"),
    ("train --epochs 0", 2, "greater than 0"),
    ("train --epochs -1", 2, "greater than 0"),
    ("train --epochs 1000000000", 2, "less than or equal to 100000"),
    ("train --epochs 1e9", 2, "less than or equal to 100000"),
    ("train --epochs abc", 2, "--epochs"),
    ("train --epochs NaN", 2, "greater than 0"),
    ("train --budget soon", 2, "must be a time such as 90s, 5m or 1h30m"),
    ("train --budget 0s", 2, "greater than 0"),
    ("train --budget 60s --epochs 3", 2, "exclude each other"),
    ("train --target 120%", 2, "less than 1"),
    ("train --batch-size 0", 2, "greater than or equal to 1"),
    ("train --lr inf", 2, "finite"),
    ("train --lr nan", 2, "finite"),
    ("train --lr 0", 2, "greater than 0"),
    ("train --image-size 7", 2, "greater than or equal to 8"),
    ("train --image-size big", 2, "such as 96"),
    ("train --validation-split 100%", 2, "less than 1"),
    ("train --seed -1", 2, "greater than or equal to 0"),
    ("train --epochs 0 --lr inf --flip 2", 2, "flip=2"),
    ("train --resize crpo", 2, "Did you mean 'crop'"),
    ("train --optimizer adma", 2, "Did you mean 'adam'"),
    ("train --schedule cosin", 2, "Did you mean 'cosine'"),
    ("train --recipe fats", 2, "Did you mean 'fast'"),
    ("train --model resnt", 2, "Did you mean 'resnet'"),
    ("train --model mlp --width 8", 2, "has no width"),
    ("train --model mobilenet --alpha 0.3", 2, "It has: 0.25, 0.5, 0.75, 1.0"),
    ("train --model resnet --weights imagenet", 2, "weights are for backbones"),
    ("train --weights nowhere.h5", 2, "there are no weights"),
    ("train --model mobilenet --offline", 4, "--weights none"),
    ("train --balance weigths", 2, "Did you mean 'weights'"),
    ("train --monitor macro-f1", 2, "Did you mean 'macro_f1'"),
    ("train --name a/b", 2, "cannot be named"),
    ("train digits extra", 2, "extra"),
    ("train mnits", 3, "Did you mean 'mnist'"),
    ("train --config nowhere.toml", 3, "nowhere.toml"),
    ("predict", 2, "RUN"),
    ("predict nowhere a.png", 3, "there is no run nowhere"),
    ("evaluate nowhere", 3, "there is no run nowhere"),
    ("predict nowhere a.png --format cvs", 2, "Did you mean 'csv'"),
    ("predict nowhere a.png --top-k 0", 2, "--top-k"),
    ("preview mnits", 3, "Did you mean 'mnist'"),
    ("preview --images 17", 2, "--images"),
    ("preview --flip 2", 2, "flip=2"),
    ("models extra", 2, "extra"),
    ("export nowhere", 2, "--format"),
    ("export nowhere --format onnx", 3, "there is no run nowhere"),
    ("verify nowhere.onnx", 2, "no exported model"),
    ("import nowhere.keras", 3, "there is no file nowhere.keras"),
    ("tune --time soon", 2, "must be a time such as 90s, 5m or 1h30m"),
    ("tune --time 0s", 2, "--time must be more than 0"),
    ("tune --trials 1", 2, "--trials must be 3 or more"),
    ("tune --trials 5 --time 1h", 2, "--trials and --time exclude each other"),
    ("tune --epochs 0", 2, "greater than 0"),
    ("tune --sampler tep", 2, "Did you mean 'tpe'"),
    ("tune --storage mysql://me@there/db", 2, "postgresql://USER:PASSWORD@HOST/DATABASE"),
    ("tune --cluster 10.0.0.1:6379", 2, "cannot share an SQLite file"),
    ("tune mnits", 3, "Did you mean 'mnist'"),
    ("train --cluster local", 2, "one worker needs no cluster"),
    ("train --workers 0", 2, "workers=0"),
    ("predict nowhere a.png --cluster local", 2, "--output"),
    ("predict nowhere a.png --output a.parquet --workers 2", 2, "--cluster"),
    ("predict nowhere a.png --output a.parquet", 3, "there is no run nowhere"),
]


@pytest.mark.parametrize(("line", "status", "hint"), MISTAKES, ids=[line for line, *_ in MISTAKES])
def test_a_mistake_is_told_with_the_way_out_before_anything_is_made(
    line: str, status: int, hint: str, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1, L2."""
    monkeypatch.chdir(tmp_path)
    said = ask(*line.split())
    assert said[:2] == (status, "")
    assert said[2].startswith("error[")
    assert hint in said[2]
    assert not list(tmp_path.iterdir())


def test_where_no_run_can_be_written_that_is_exit_status_4(ask: Ask, tmp_path: Path) -> None:
    """D3: a file stands where the folder should be; root can write everywhere else."""
    (tmp_path / "runs").write_text("")
    for output in (tmp_path / "runs", tmp_path / "runs" / "deep"):
        status, out, err = ask("train", "digits", "--output", output)
        assert (status, out) == (4, "")
        assert err.splitlines()[-1].startswith("error[ENVIRONMENT]: cannot make the folder")
    assert ask("preview", "--output", tmp_path / "runs" / "x.png")[0] == 4


def test_a_backend_that_is_none_of_ours_is_exit_status_4(tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "nonsense"}
    command = [*ICONOCLASS, "train", "digits", "--output", str(tmp_path)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (4, "")
    assert "KERAS_BACKEND=nonsense is no backend" in answer.stderr
    assert "Allowed: tensorflow, jax, torch" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_damaged_model_is_exit_status_5(ask: Ask, run: Run, pictures: Path, tmp_path: Path) -> None:
    """M1 in spirit."""
    (tmp_path / "copy").mkdir()
    for name in ("config.toml", "dataset.json"):
        (tmp_path / "copy" / name).write_bytes((run.path / name).read_bytes())
    (tmp_path / "copy" / "model.keras").write_bytes(run.model_path.read_bytes()[:5000])
    status, out, err = ask("predict", tmp_path / "copy", pictures)
    assert (status, out) == (5, "")
    assert err.startswith("error[INTEGRITY]:")


def test_divergence_is_exit_status_6(ask: Ask, tmp_path: Path) -> None:
    """P7."""
    settings = ["--optimizer", "sgd", "--lr", 1000, "--weight-decay", 1]
    status, out, err = ask("train", "--model", "mlp", *settings, "--output", tmp_path)
    assert (status, out) == (6, "")
    assert "in epoch 1, step " in err.splitlines()[-1]
    assert "--lr 1e+02" in err.splitlines()[-1]


def test_our_own_bug_is_exit_status_1_and_leaves_a_report(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("iconoclass.environment.diagnose", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, out, err = ask("doctor")
    assert (status, out) == (1, "")
    assert "error[BUG]: ZeroDivisionError: a bug of ours. This is our bug." in err
    [report] = tmp_path.glob("iconoclass-*.txt")
    assert str(report) in err
    assert "Traceback" in report.read_text()
    assert "iconoclass doctor" in report.read_text()


def test_with_debug_the_traceback_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("iconoclass.environment.diagnose", broken)
    monkeypatch.setattr(sys, "argv", ["iconoclass", "--debug", "doctor"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_ctrl_c_anywhere_is_exit_status_130(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """P3."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("iconoclass.environment.diagnose", interrupted)
    status, out, err = ask("doctor")
    assert (status, out) == (130, "")
    assert "stopped" in err


def test_every_option_that_our_texts_advise_is_there() -> None:
    options = {
        option
        for verb in VERBS.values()
        for parameter in verb.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    # But the names of colours in a style sheet, as in var(--ink).
    advised = {
        option: path.name
        for path in Path(iconoclass.__file__).parent.rglob("*.py")
        for option in re.findall(r"(?<![\w-])(?<!var\()--[a-z][a-z-]*(?![\w:-])", path.read_text(encoding="utf-8"))
    }
    elsewhere = {"--help", "--debug", "--version", "--logdir", "--head"}  # the last two are TensorBoard's and Ray's
    assert {option: where for option, where in advised.items() if option not in options | elsewhere} == {}


@pytest.mark.parametrize("option", [["--compare-naive"], ["--compare-decisions"], ["--rotate", "0"], ["--lr", "0.1"]])
def test_beside_resume_no_option_is_taken_that_would_have_no_effect(option: list[str], run: Run, ask: Ask) -> None:
    status, _, said = ask("train", "--resume", run.path, *option)
    assert status == 2
    assert f"Received: {option[0]}" in said
