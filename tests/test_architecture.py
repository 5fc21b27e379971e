"""Imports run one way: pipelines → assets → tokenization ← training; Dagster and torch each stay in their place.

Read from the syntax trees, so an import inside a function counts as well. A planted violation shows that each rule
would be noticed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipelines", "assets", "tokenization", "training", "demo")
MAY_IMPORT = {
    "pipelines": {"pipelines", "assets", "tokenization"},
    "assets": {"assets", "tokenization"},
    "tokenization": {"tokenization"},
    "training": {"training", "tokenization"},
    "demo": set(PACKAGES),
}
ONLY_IN = {
    "dagster": {"pipelines", "assets"},
    "dagster_pipes": {"training"},
    "torch": {"training"},
    "transformers": {"training"},
    "accelerate": {"training"},
    "safetensors": {"training"},
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of the source, also inside functions, also by `import_module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide the way"
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def violations(package: str, source: str, name: str = "module.py") -> list[str]:
    """What this source, in this package, imports and may not."""
    found = []
    for line, module in imported(source):
        top = module.split(".")[0]
        if top in PACKAGES and top not in MAY_IMPORT[package]:
            found.append(f"{package}/{name}:{line} imports {module}: {package} may not know of {top}")
        if package not in ONLY_IN.get(top, {package}):
            found.append(f"{package}/{name}:{line} imports {module}, which belongs in {sorted(ONLY_IN[top])}")
        if top in ("tests", "benchmarks"):
            found.append(f"{package}/{name}:{line} imports {module}: the product never needs it")
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way_and_dagster_and_torch_stay_in_their_place(package: str) -> None:
    paths = modules(package)
    assert len(paths) > 3
    found = [
        violation
        for path in paths
        for violation in violations(package, path.read_text(), path.relative_to(ROOT / package).as_posix())
    ]
    assert found == []


COMMANDS_WITHOUT = ("planning", "rendering", "replaying", "storing")  # Dagster takes a second to import


@pytest.mark.parametrize(("last", "loaded"), [("", False), ("import pipelines.building", True)])
def test_commands_that_open_no_run_do_not_load_dagster(last: str, loaded: bool) -> None:
    lines = [*(f"import pipelines.commands.{name}" for name in COMMANDS_WITHOUT), last, "import sys"]
    source = "\n".join([*lines, "print('dagster' in sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{loaded}\n"


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("tokenization", "import dagster as dg"),
        ("tokenization", "def f():\n    from assets.naming import key"),
        ("tokenization", "import pipelines.cli"),
        ("tokenization", "def f():\n    import torch"),
        ("tokenization", "from training.model import build"),
        ("assets", "from pipelines.jobs import QUIET"),
        ("assets", "def f():\n    from importlib import import_module\n    import_module('torch.nn')"),
        ("assets", "from training import loop"),
        ("pipelines", "def f():\n    import torch.nn as nn"),
        ("pipelines", "from training.train import main"),
        ("training", "import dagster"),
        ("training", "from assets import naming"),
        ("pipelines", "from tests import small_recipes"),
    ],
)
def test_a_planted_violation_is_noticed(package: str, source: str) -> None:
    assert len(violations(package, source)) >= 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("pipelines", "import dagster as dg\nfrom assets import naming\nimport tokenization.engine"),
        ("training", "import torch\nfrom tokenization.shards import read_split\nimport dagster_pipes"),
        ("demo", "from pipelines.cli import main"),
    ],
)
def test_what_is_allowed_passes(package: str, source: str) -> None:
    assert violations(package, source) == []


def test_a_trainer_is_reached_as_a_process_and_by_its_name_only() -> None:
    """What may not be imported is started: the command names the module."""
    text = (ROOT / "assets" / "training.py").read_text()
    assert '"training.train"' in text and "sys.executable" in text


def test_every_module_opens_with_what_it_is() -> None:
    bare = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert bare == []


def test_no_file_of_the_product_names_a_folder_of_one_machine() -> None:
    written = [
        *(path for package in PACKAGES for path in modules(package)),
        *(ROOT / "recipes").glob("*.yaml"),
    ]
    found = [
        path.name
        for path in written
        if any(word in path.read_text() for word in ("/home/", "/Users/", "/work/"))
    ]
    assert found == []
