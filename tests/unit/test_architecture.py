"""The architecture, held by reading the source: rooms, cycles, homes of libraries, sizes, what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = {
    "tuner": {"tuner", "db", "workers", "search_spaces"},
    "workers": {"workers", "search_spaces"},
    "db": {"db"},
    "search_spaces": {"search_spaces"},
}
"""Who may import whom among the rooms."""

WITHIN = {
    "tuner": {
        "definitions": set[str](),
        "payload": {"definitions"},
        "samplers": {"definitions"},
        "pruners": set[str](),
        "coordination": {"definitions", "payload", "samplers", "pruners"},
        "reporting": {"definitions", "coordination"},
        "promoting": {"definitions", "payload", "coordination", "reporting"},
    },
    "workers": {
        "data": set[str](),
        "trials": {"data"},
        "cohorts": {"data", "trials"},
        "exporting": {"data", "trials"},
        "launchers": set[str](),
    },
}
"""Who may import whom among the folders of a room; the files beside them, and `tuner/cli/`, put them together."""

OURS = {*ROOMS, "tests", "examples", "benchmarks"}

HOMES = {
    "ray": ("workers/launchers/ray_actors/",),
    "optuna": (
        "tuner/samplers/optuna_samplers.py",
        "tuner/reporting/importance.py",
        "search_spaces/adapters/optuna.py",
    ),
    "plotly": ("tuner/reporting/plots/",),
    "tensorboard": ("tuner/reporting/tensorboard_events.py",),
    "scipy": ("tuner/samplers/gaussian_process.py", "tuner/samplers/expected_improvement.py"),
    "threadpoolctl": ("tuner/samplers/one_thread.py",),
    "cloudpickle": ("tuner/payload/by_value.py",),
    "keras_tuner": ("workers/trials/hyperparameters.py", "search_spaces/adapters/keras_tuner.py"),
    "sqlalchemy": ("db/",),
    "alembic": ("db/",),
    "psycopg": ("db/",),
    "tensorflow": ("workers/",),
    "keras": ("workers/",),
    "click": ("tuner/cli/",),
    "prometheus_client": ("tuner/metrics.py",),
}
"""Where in the rooms a library may be imported: one home each, where that is natural."""

HEAVY = ("tensorflow", "keras", "keras_tuner", "ray", "optuna", "scipy", "pandas", "pyarrow", "plotly", "tensorboard")
"""Libraries that take seconds: imported where they are used, never on the way to something else."""

MOST_LINES_PER_FILE = 300
MOST_LINES_PER_TEST_FILE = 500  # a table of cases is read by the case
MOST_LINES_PER_CLASS = 250
MOST_LINES_PER_FUNCTION = 50
TOO_LONG = {
    "db/migrations/versions/0001_first.py:_models_and_events": "a list of tables, top to bottom",
}
"""What may be longer, "path" or "path:name", each with the reason why that serves the reader."""

PRIVATE = re.compile(
    r"pypi\.org|pythonhosted\.org|/[r]oot/|/home/[a-z]|/Users/[A-Za-z]|/work/(?:main|shared)|/opt/(?:pypi|wheels)"
)
"""Hosts of package indexes, and folders of one machine."""


@dataclass(frozen=True)
class Import:
    module: str  # dotted; for `from a import b` it is "a.b" where that is a module, else "a"
    line: int
    at_module_level: bool
    for_types_only: bool  # under `if TYPE_CHECKING`


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the checkout that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file())


@cache
def sources() -> dict[str, ast.Module]:
    """Relative path and syntax tree of every Python file."""
    files = [path for path in tracked() if path.suffix == ".py"]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(), str(path)) for path in files}


@cache
def modules() -> dict[str, str]:
    """Dotted name -> relative path."""
    return {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources()}


def room(path: str) -> str:
    return path.split("/", maxsplit=1)[0]


def in_rooms() -> list[str]:
    return [path for path in sources() if room(path) in ROOMS]


@cache
def imports(path: str) -> tuple[Import, ...]:
    return tuple(_imports(sources()[path].body, path, True, False))


def _imports(nodes: list[ast.stmt], path: str, top: bool, types_only: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(item.name, node.lineno, top, types_only) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            names = [f"{base}.{item.name}" for item in node.names]
            targets = {name if name in modules() else base for name in names}
            yield from (Import(target, node.lineno, top, types_only) for target in sorted(targets))
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            guard = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                for child in getattr(node, field, []):
                    inner = [child] if isinstance(child, ast.stmt) else child.body
                    yield from _imports(inner, path, top and not inside, types_only or (guard and field == "body"))


def _absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    package = path.split("/")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def test_rooms_import_only_whom_they_may() -> None:
    wrong = [
        f"{path}:{item.line}: {room(path)} may not import {item.module}"
        for path in in_rooms()
        for item in imports(path)
        if (target := item.module.split(".")[0]) in OURS and target not in ROOMS[room(path)]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", WITHIN)
def test_folders_of_a_room_import_only_whom_they_may(name: str) -> None:
    folders = {path.parent.name for path in (ROOT / name).glob("*/__init__.py")}
    assert {*WITHIN[name]} == folders - {"cli"}
    wrong = [
        f"{path}:{item.line}: {name}/{folder} may not import {name}/{other}"
        for folder, allowed in WITHIN[name].items()
        for path in in_rooms()
        if path.startswith(f"{name}/{folder}/")
        for item in imports(path)
        if (other := item.module.removeprefix(f"{name}.").split(".")[0]) in folders - {folder, *allowed}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    """Lazy imports count as well: a cycle that is only postponed still ties its modules together."""
    graph = {
        name: {item.module for item in imports(path) if item.module in modules() and not item.for_types_only}
        for name, path in modules().items()
        if room(path) in OURS
    }
    wrong = [" -> ".join(cycle) for name in sorted(graph) if (cycle := _cycle(graph, name)) and name == min(cycle)]
    assert not wrong, "\n".join(wrong)


def _cycle(graph: dict[str, set[str]], start: str) -> list[str]:
    """The shortest way from `start` back to it; empty if there is none."""
    came_from: dict[str, str] = {}
    queue = [start]
    for name in queue:
        for target in sorted(graph.get(name, ())):
            if target == start:
                way = [start, name]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if target not in came_from:
                came_from[target] = name
                queue.append(target)
    return []


def test_libraries_stay_in_their_homes() -> None:
    wrong = [
        f"{path}:{item.line}: {library} is imported outside {', '.join(HOMES[library])}"
        for path in in_rooms()
        for item in imports(path)
        if (library := item.module.split(".")[0]) in HOMES and not path.startswith(HOMES[library])
    ]
    assert not wrong, "\n".join(wrong)


def test_search_spaces_need_only_the_standard_library() -> None:
    wrong = [
        f"{path}:{item.line}: {item.module}"
        for path in in_rooms()
        if room(path) == "search_spaces"
        for item in imports(path)
        if (library := item.module.split(".")[0]) != "search_spaces" and library not in sys.stdlib_module_names
        if (item.at_module_level and not item.for_types_only) or not path.startswith("search_spaces/adapters/")
    ]
    assert not wrong, "\n".join(wrong)


def test_every_imported_library_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    runtime = {_distribution(text) for text in [*project["dependencies"], *extras["cmaes"]]}
    declared = {"tests": runtime | {_distribution(text) for text in extras["dev"]}}
    homes = packages_distributions()
    wrong = [
        f"{path}:{item.line}: {library} comes with {homes.get(library, [library])}, which is not declared"
        for path in sources()
        for item in imports(path)
        if (library := item.module.split(".")[0]) not in OURS | sys.stdlib_module_names
        if room(path) in OURS
        and not {_distribution(name) for name in homes.get(library, [library])} & declared.get(room(path), runtime)
    ]
    assert not wrong, "\n".join(wrong)


def _distribution(requirement: str) -> str:
    return re.split(r"[\[=<>~! ;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_files_classes_and_functions_are_short() -> None:
    found: dict[str, str] = {}
    for path, tree in sources().items():
        lines = (ROOT / path).read_text().count("\n")
        most = MOST_LINES_PER_TEST_FILE if room(path) == "tests" else MOST_LINES_PER_FILE
        if lines > most:
            found[path] = f"{path} has {lines} lines, more than {most}"
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                most = MOST_LINES_PER_CLASS if isinstance(node, ast.ClassDef) else MOST_LINES_PER_FUNCTION
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > most:
                    found[f"{path}:{node.name}"] = (
                        f"{path}:{node.lineno}: {node.name} has {length} lines, more than {most}"
                    )
    wrong = [sentence for name, sentence in found.items() if name not in TOO_LONG]
    wrong += [f"{name} is allowed to be long and is not: take it off the list" for name in TOO_LONG.keys() - found]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is_for() -> None:
    wrong = [path for path, tree in sources().items() if tree.body and not ast.get_docstring(tree)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "entrance",
    [
        "tuner",
        "tuner.cli",
        "tuner.api",
        "tuner.study",
        "tuner.coordination.coordinator",
        "search_spaces",
        "workers.contract",
        "db",
    ],
)
def test_an_import_brings_nothing_heavy(entrance: str) -> None:
    heavy = _imported(entrance).intersection(HEAVY)
    assert not heavy, f"import {entrance} brings {', '.join(sorted(heavy))}"


def test_no_module_of_the_database_brings_anything_heavy() -> None:
    names = [name for name, path in modules().items() if room(path) == "db" and "migrations" not in path]
    assert not _imported(*names).intersection(HEAVY)


def _imported(*names: str) -> set[str]:
    """Top-level names in sys.modules after a fresh interpreter has imported `names`."""
    program = f"import sys; import {', '.join(names)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_no_file_names_a_package_index_or_a_folder_of_one_machine() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        if (text := _text(path)) is not None
        for number, line in enumerate(text.splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None  # a picture or compressed data
