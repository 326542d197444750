"""What stands under examples/ does what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from iconoclass.exports.verify import as_png

SERVE = Path(__file__).parent.parent / "examples" / "serve"


def required() -> list[Requirement]:
    lines = (SERVE / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def brought_by(names: set[str]) -> set[str]:
    """Those distributions and all that they need in turn."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        needs = [Requirement(text) for text in metadata.requires(name) or []]
        left += [normal(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_image_holds_all_that_the_server_and_its_workers_import() -> None:
    loading = (
        "import sys, iconoclass.cli.main, iconoclass.serving.server, iconoclass.serving.child\n"
        "import iconoclass.serving.network, onnxruntime\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=True).stdout
    owners = metadata.packages_distributions()
    loaded = {normal(owners[name][0]) for name in said.split() if name in owners}
    loaded -= {"iconoclass", "setuptools"}  # the latter's hook loads itself wherever it is installed
    allowed = brought_by({normal(requirement.name) for requirement in required()})
    assert loaded <= allowed, loaded - allowed
    assert not {name for name in allowed if "tensorflow" in name or name == "keras"}


def test_the_image_needs_no_other_versions_than_the_package() -> None:
    project = tomllib.loads((SERVE.parent.parent / "pyproject.toml").read_text())["project"]
    stated = {Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["serve"]}
    assert set(required()) <= stated


def test_the_image_runs_as_nobody_special_and_copies_what_there_is() -> None:
    lines = (SERVE / "Dockerfile").read_text().splitlines()
    assert "USER iconoclass" in lines
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert all((SERVE.parent.parent / name).exists() for names in copied for name in names)


CLIENTS = {"python": ([sys.executable, "client.py"]), "curl": ["sh", "client.sh"], "javascript": ["node", "client.mjs"]}


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_clients_get_answers(kind: str, exported, tmp_path: Path) -> None:
    command = CLIENTS[kind]
    if not shutil.which({"curl": "curl"}.get(kind, command[0])):
        pytest.skip(f"NOT RUN: needs {kind}")
    import iconoclass as ic
    from test_live_page import served

    test = ic.load_dataset("digits").test
    paths = [tmp_path / f"{at}.png" for at in range(2)]
    for path, pixels in zip(paths, test.pixels, strict=False):
        path.write_bytes(as_png(pixels))
    expected = [answer.class_name for answer in ic.Predictor.load(exported["onnx"].path).predict(paths)]
    with served(exported["onnx"].path) as url:
        done = subprocess.run([*command, url, *map(str, paths)], cwd=SERVE, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    if kind == "curl":
        assert [json.loads(line)["predictions"][0]["class_name"] for line in lines] == expected
    else:
        assert [line.split("\t")[1] for line in lines] == expected
