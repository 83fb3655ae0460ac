"""Functions of a script or a notebook: what names them, what goes with them, and what is refused."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pandas as pd
import pytest

from tests import loops
from tuner import InvalidStudy, Settings, create_study
from tuner.payload.by_value import Module, needed, taken
from workers import user_code
from workers.entry_points import EntryPointError, resolve

CELL = """
import os.path
from functools import wraps
from tests.loops import descent

SIZES, LABEL = [1, 2], "a"
COLOURS = {"red", "green", "blue"}

def helper(x, by=2):
    return x * by

class Base:
    factor = 3
    def scaled(self, x):
        return helper(x) * self.factor

class Their(Base):
    @property
    def name(self):
        return LABEL

def again(times):
    def decorate(function):
        @wraps(function)
        def call(x):
            return [function(x) for _ in range(times)]
        return call
    return decorate

@again(2)
def train(x):
    '''What it does.'''
    if x in {"one", "two", "three"}:
        return COLOURS
    return Their().scaled(x), Their().name, SIZES, [size for size in SIZES if helper(size)], os.path.sep, descent
"""
RESULT = (18, "a", [1, 2], [1, 2], "/", loops.descent)


def run_cell(source: str, file: str = "<cell>", **names: Any) -> dict[str, Any]:
    """What a notebook has after a cell with this source."""
    namespace = {"__name__": "__main__", **names}
    exec(compile(source, file, "exec"), namespace)
    return namespace


def name_of(source: str, target: str = "train", **names: Any) -> str:
    entry_point, _ = taken(run_cell(source, **names)[target], "loop")
    return entry_point


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """What a worker gets in place of something of a program."""
    monkeypatch.setattr(user_code, "_front", user_code._Front())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))

    def imported(target: Any, change: Callable[[bytes], bytes] = bytes) -> Any:
        entry_point, module = taken(target, "model")
        return resolve(entry_point, stored(tmp_path, module, change))

    yield imported
    for name in [name for name in sys.modules if name.startswith(user_code.MAIN)]:
        del sys.modules[name]


def stored(folder: Path, module: Module, change: Callable[[bytes], bytes] = bytes) -> tuple[str, ...]:
    content = user_code.pack([], {module.name: change(module.source)}, [str(folder)])
    package = folder / hashlib.sha256(content).hexdigest() / user_code.ARCHIVE
    package.parent.mkdir(exist_ok=True)
    package.write_bytes(content)
    return user_code.import_paths(package)


def test_what_it_refers_to_goes_with_it(imported: Callable[..., Any]) -> None:
    namespace = run_cell(CELL)
    train = imported(namespace["train"])
    namespace["SIZES"].append(3)
    assert train(3) == [RESULT] * 2, "as it was when the study was described"


@pytest.mark.parametrize(
    "edit",
    [
        ("def train(x):\n", "def train(x):\n    # a comment\n\n"),
        ("import os.path\n", "import os.path\n\n\nUNUSED = 5\n"),
        ("x * by", "(x*by)"),
    ],
)
def test_the_same_code_has_the_same_name(edit: tuple[str, str]) -> None:
    """Whatever lies around it, and after it was called."""
    namespace = run_cell(CELL, "/tmp/kernel_1/2.py")
    before = taken(namespace["train"], "loop")[0]
    for _ in range(100):  # until it is optimised
        namespace["train"](3)
    changed = CELL.replace(*edit)
    assert changed != CELL
    assert before == name_of(CELL) == name_of(changed) == taken(namespace["train"], "loop")[0]
    assert before.endswith(":train")


@pytest.mark.parametrize(
    "edit",
    [
        ("range(times)", "range(times + 1)"),
        ("@again(2)", "@again(3)"),
        ("by=2", "by=4"),
        ("x * by", "x + by"),
        ("factor = 3", "factor = 5"),
        ('LABEL = [1, 2], "a"', 'LABEL = [1, 2], "b"'),
        ("[1, 2]", "[1, 2, 3]"),
        ('"blue"}', '"black"}'),
        ('"three"}', '"four"}'),
        ("if helper(size)", "if not helper(size)"),
        ("import descent", "import tested as descent"),
        ("return LABEL", "return LABEL.upper()"),
    ],
)
def test_an_edit_gives_another_name(edit: tuple[str, str]) -> None:
    changed = CELL.replace(*edit)
    assert changed != CELL
    assert name_of(changed) != name_of(CELL)


VALUES = {
    "a tuple in a set": "{('a', 1), ('b', FIRST)}",
    "a path": "pathlib.Path('rows') / str(FIRST)",
    "a range": "range(FIRST)",
    "a date": "datetime.date(2026, 11, FIRST)",
    "arguments of a command": "argparse.Namespace(width=FIRST)",
    "a namespace": "types.SimpleNamespace(inner=types.SimpleNamespace(width=FIRST))",
    "an object with slots": "Settings(FIRST)",
}


@pytest.mark.parametrize("value", VALUES)
def test_another_value_gives_another_name(value: str) -> None:
    cell = f"""
import argparse, dataclasses, datetime, pathlib, types

@dataclasses.dataclass(slots=True)
class Settings:
    width: int

VALUE = {VALUES[value]}

def train(run):
    return VALUE
"""
    one, again, other = (name_of(cell.replace("FIRST", number)) for number in "112")
    assert one == again != other


def test_another_process_gives_the_same_name() -> None:
    program = (
        "from __future__ import annotations\n"  # as here: it is compiled in
        "from tuner.payload.by_value import taken\n"
        "cell = {'__name__': '__main__'}\n"
        f"exec(compile({CELL!r}, '<cell>', 'exec'), cell)\n"
        "print(taken(cell['train'], 'loop')[0])"
    )
    root = Path(__file__).parents[2]
    names = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert names == {name_of(CELL)}


def test_arrays_count_and_may_be_small(imported: Callable[..., Any]) -> None:
    source = "def train(x):\n    return table[x].sum(), unused.table"
    small = np.arange(6.0).reshape(2, 3)
    assert name_of(source, table=small) == name_of(source, table=small.copy()) != name_of(source, table=small + 1)
    assert name_of(source, table=small) == name_of(source, table=small, unused_too=1)
    entry, _ = taken(run_cell("def train():\n    return other.table", table=np.zeros(2**21))["train"], "loop")
    assert entry.endswith(":train"), "an attribute of the same name is no reference to it"
    train = imported(run_cell("def train(x):\n    return table[x].sum()", table=small)["train"])
    assert train(1) == 12


def test_a_table_counts() -> None:
    source, frame = "def train(x):\n    return table.sum()", pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert name_of(source, table=frame) == name_of(source, table=frame.copy())
    assert name_of(source, table=frame) != name_of(source, table=frame.assign(b=["x", "z"]))


def test_what_it_imports_is_known() -> None:
    source = """
import json, os.path as place
from tests.loops import descent
from tests import commands

def train(x):
    import their_own.module
    return json, place, descent, commands, lambda: __import__, their_own
"""
    _, module = taken(run_cell(source)["train"], "loop")
    assert module.imports >= {"json", "posixpath", "tests", "their_own"}


def test_cached_functions_go_too(imported: Callable[..., Any]) -> None:
    source = """
from functools import cache, lru_cache

@lru_cache(maxsize=3)
def cached(x):
    return x + 1

@cache
def train(x):
    return cached(x)
"""
    assert imported(run_cell(source)["train"])(1) == 2
    assert name_of(source) != name_of(source.replace("x + 1", "x + 2"))


class Tuned(keras_tuner.HyperModel):
    """A HyperModel that needs arguments."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def build(self, hp: Any) -> Any:
        return hp, self.classes


def test_other_things_that_only_a_program_has(imported: Callable[..., Any]) -> None:
    def inner(hp: Any, classes: int = 3) -> Any:
        return hp, classes

    assert not needed(loops.descent) and not needed(Tuned) and not needed(len)
    for target in (inner, lambda hp: inner(hp), partial(inner, classes=3), Tuned(3).build):
        assert needed(target)
        assert imported(target)("hp") == ("hp", 3)
    assert needed(Tuned(3))
    assert imported(Tuned(3)).build("hp") == ("hp", 3)
    assert taken(Tuned(3), "model")[0] == taken(Tuned(3), "model")[0] != taken(Tuned(4), "model")[0]


def test_what_happens_in_it_can_be_read() -> None:
    """By tracebacks and by AutoGraph, also where nobody else has the cell."""
    source = "def train(x):\n    raise ValueError(x)  # says why\n"
    linecache.cache["<cell-1>"] = (len(source), None, source.splitlines(keepends=True), "<cell-1>")
    _, module = taken(run_cell(source, "<cell-1>")["train"], "loop")
    del linecache.cache["<cell-1>"]
    namespace: dict[str, Any] = {}
    exec(module.source, namespace)
    assert inspect.getsource(namespace["train"]) == source
    with pytest.raises(ValueError, match="why") as raised:
        namespace["train"]("why")
    assert "# says why" in "".join(traceback.format_exception(raised.value))


def test_another_version_of_python_is_told(imported: Callable[..., Any]) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"

    def older(source: bytes) -> bytes:
        return source.replace(str(tuple(sys.version_info[:2])).encode(), b"(3, 4)").replace(here.encode(), b"3.4")

    with pytest.raises(EntryPointError, match=f"ran on Python 3.4, and this is Python {here}: workers need the same"):
        imported(run_cell(CELL)["train"], older)


class Odd:
    """An object whose own code raises when it is looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("odd")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            {"table": np.zeros(2**21)},
            r"`loop` refers to more than the 8 MiB .* `table` \(16\.0 MiB\)\. Give .* shape = table\.shape\.$",
        ),
        ({"table": "long" * 2**21}, r"`loop` refers to more than the 8 MiB that go with a study\. Give"),
        ({"table": Odd()}, r"`loop` refers to what cannot be stored with it: RuntimeError: odd\. Make such things"),
        ({"table": threading.Lock()}, r"`loop` refers to what cannot be stored with it: TypeError: cannot pickle"),
    ],
)
def test_what_cannot_go_with_a_study_is_a_sentence(names: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    train = run_cell("def train(run):\n    return table", **names)["train"]
    with pytest.raises(InvalidStudy, match=sentence):
        create_study("study", loop=train, space={"x": [1, 2]}, settings=Settings.load({}, home=tmp_path / "home"))
