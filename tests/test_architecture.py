"""The tree, the imports and docs/architecture.md say the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import iconoclass

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "iconoclass"

# Each may be imported by all after it and by nothing before it; those in one tuple do not know each other.
ORDER = [
    ("errors",),
    ("files",),
    ("intervals", "pages", "inline"),
    ("config", "process"),
    ("backend",),
    ("run", "environment"),
    ("fetch", "runs", "cluster"),
    ("images",),
    ("data", "models"),
    ("training", "prediction"),
    ("evaluation",),
    ("exports",),
    ("pipeline",),
    ("folds", "resuming", "curve", "notebooks"),
    ("tuning", "bulk"),
    ("serving",),
    ("cli",),
]
LEVEL = {stage: level for level, stages in enumerate(ORDER) for stage in stages}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every iconoclass module that a file imports, anywhere in it, by full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "iconoclass"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "iconoclass":
            names = {module_name(other) for other in modules()}
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in names else node.module
                for alias in node.names
            }
    return found


def stage_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def inner_modules() -> list[Path]:
    """All modules but the package's two entrances, which may know everything."""
    return [path for path in modules() if path.parent != PACKAGE or path.name not in {"__init__.py", "__main__.py"}]


@pytest.mark.parametrize("path", inner_modules(), ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    own = stage_of(module_name(path))
    assert own in LEVEL, f"{path} belongs to no stage of ORDER"
    for module in imports_of(path):
        stage = stage_of(module)
        if stage is None or stage == own:
            continue  # the version, or a sibling
        assert LEVEL[stage] < LEVEL[own], f"{module_name(path)} imports {module}, which is not below it"


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    graph = {module_name(path): imports_of(path) for path in inner_modules()}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", inner_modules(), ids=module_name)
def test_siblings_are_imported_by_their_full_path(path: Path) -> None:
    """Importing a sibling through its package's __init__ is how most import cycles begin."""
    packages = {module_name(init) for init in PACKAGE.glob("*/__init__.py")}
    assert not imports_of(path) & packages


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/__init__.py")), ids=module_name)
def test_a_stage_explains_itself_in_ten_lines_and_does_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 10


def libraries_of(path: Path) -> set[str]:
    """The packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_nothing_but_the_backend_and_the_training_steps_depends_on_which_backend_runs() -> None:
    using = {module_name(path) for path in modules() if libraries_of(path) & {"tensorflow", "jax", "torch"}}
    assert using == {
        "iconoclass.backend",
        "iconoclass.exports.catalog",  # LiteRT files are made by TensorFlow
        "iconoclass.training.steps",
        "iconoclass.training.team",  # who talk through TensorFlow
        "iconoclass.training.progress",  # and TensorBoard's event files, whichever backend trains
    }


def test_keras_is_imported_in_one_place_only() -> None:
    using = {module_name(path) for path in modules() if "keras" in libraries_of(path)}
    assert using == {"iconoclass.backend"}


def test_only_run_knows_the_file_names_of_a_run() -> None:
    names = re.compile(
        r'["\'/](?:config\.toml|dataset\.json|splits\.csv|history\.csv|predictions\.csv|run\.json|metrics\.json)["\']'
    )
    knowing = {module_name(path) for path in inner_modules() if names.search(path.read_text(encoding="utf-8"))}
    assert knowing == {"iconoclass.run"}


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running our command line."""
    code = (
        "import sys\nfrom iconoclass.cli.main import main\n"
        f"sys.argv = ['iconoclass', *{list(arguments)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('LOADED', *sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(answer.stdout.split("LOADED ")[1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["trian"], ["train", "--epoch", "1"]])
def test_help_and_misspelt_commands_load_neither_tensorflow_nor_keras_nor_numpy(arguments: list[str]) -> None:
    assert not loaded_by(*arguments) & {"tensorflow", "keras", "numpy", "matplotlib"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, iconoclass; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(answer.stdout.split()) & {"tensorflow", "keras", "numpy", "PIL", "pydantic"}


def test_the_public_names_are_those_promised_and_all_of_them_exist() -> None:
    assert iconoclass.__all__ == sorted(iconoclass._PUBLIC, key=lambda name: (name[0].islower(), name))
    for name in iconoclass.__all__:
        assert getattr(iconoclass, name).__module__ == iconoclass._PUBLIC[name]


def test_the_tree_in_the_documentation_is_the_tree_on_disk() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = text.split("```\nsrc/iconoclass/\n")[1].split("```")[0]
    written, folder = set(), ""
    for line in tree.splitlines():
        found = re.match(r"^(│   |    )?[├└]── (\S+)", line)
        if not found:
            continue
        if found[2].endswith("/"):
            folder = found[2]
        else:
            written.add((folder if found[1] else "") + found[2])
    on_disk = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".mplstyle", ".css", ".js", ".html"}
        and (path.name != "__init__.py" or path.parent == PACKAGE)
    }
    assert written == on_disk


def test_the_order_in_the_documentation_is_the_order_of_the_imports() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    written = re.search(r"^errors -> .*$", text, re.MULTILINE)
    assert written
    stages = [tuple(part.replace(" ", "").split("|")) for part in written[0].split("->")]
    assert stages == ORDER
