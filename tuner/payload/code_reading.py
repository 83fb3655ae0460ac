"""What a function refers to in the program that defines it, as far as it is taken by value, and a digest of all that.

Two functions have the same digest where their compiled code, that of what they refer to there, and the plain values and
arrays in it are the same. Of other people's objects only the kind counts: they may hold what differs from run to run.
"""

from __future__ import annotations

import argparse
import datetime
import dis
import hashlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from workers.user_code import LIMIT

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, type(...), range, PurePath, datetime.date, datetime.timedelta,
)  # fmt: skip
NAMESPACES = (SimpleNamespace, argparse.Namespace)  # other people's classes for what a program says
OF_THE_COMPILER = {  # what a class has and no person wrote
    "__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "_abc_impl",
}  # fmt: skip
WRAPPED = ("func", "__wrapped__", "python_function")  # of cached_property, lru_cache, tf.function


class Reader:
    """Goes through what a function refers to, as far as it is taken by value."""

    def __init__(self) -> None:
        self.total = hashlib.sha256()
        self.imports: set[str] = set()
        self.files: set[str] = set()
        self.classes: list[type] = []
        self.large: list[tuple[str, int]] = []  # arrays, by the name that refers to them
        self._seen: dict[int, tuple[int, Any]] = {}

    def say(self, *parts: object) -> None:
        self.total.update(repr(parts).encode())

    def visit(self, value: Any, name: str, *, deep: bool = False) -> None:
        """Take a value into account. `deep`: with its own attributes, wherever its class comes from."""
        if isinstance(value, PLAIN):
            self.say(type(value).__name__, value)
            return
        if isinstance(value, (set, frozenset)):
            self.say("set", sorted(map(_of_a_set, value)))
            return
        if id(value) in self._seen and not isinstance(value, tuple):  # whether equal tuples are one is the compiler's
            self.say("again", self._seen[id(value)][0])
            return
        self._seen[id(value)] = len(self._seen), value
        kinds: dict[type | tuple[type, ...], Callable[[Any, str], None]] = {
            CodeType: self._code,
            FunctionType: self._function,
            type: self._class,
            ModuleType: self._module,
            MethodType: lambda method, name: self._several([method.__func__, method.__self__], name),
            (staticmethod, classmethod): lambda method, name: self.visit(method.__func__, name),
            property: lambda found, name: self._several([found.fget, found.fset, found.fdel], name),
            partial: lambda found, name: self._several([found.func, found.args, found.keywords], name),
            (list, tuple): self._several,
            dict: self._mapping,
        }
        for kind, visit in kinds.items():
            if isinstance(value, kind):
                visit(value, name)
                return
        self._object(value, name, deep)

    def _several(self, values: Any, name: str) -> None:
        self.say(type(values).__name__, len(values))
        for item in values:
            self.visit(item, name)

    def _mapping(self, values: Mapping[Any, Any], name: str) -> None:
        self.say("dict", len(values))
        for key, item in values.items():
            self.visit(key, name)
            self.visit(item, name)

    def _module(self, module: ModuleType, name: str) -> None:  # noqa: ARG002 - like the others
        self.say("module", module.__name__)
        self.imports.add(module.__name__.partition(".")[0])

    def _code(self, code: CodeType, name: str) -> None:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        self.say(code.co_name, counts, code.co_code, code.co_names, code.co_varnames, code.co_freevars)
        self.files.add(code.co_filename)
        steps = dis.get_instructions(code)
        self.imports.update(str(step.argval).partition(".")[0] for step in steps if step.opname == "IMPORT_NAME")
        self._several(code.co_consts, name)

    def _function(self, function: FunctionType, name: str) -> None:
        if self._imported(function):
            return
        self.visit(function.__code__, name)
        self._several([function.__defaults__, function.__kwdefaults__], name)
        own = {key: item for key, item in vars(function).items() if not key.startswith("__")}
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self.visit(cell.cell_contents, free)
            except ValueError:  # it is not bound yet
                self.say("unbound", free)
        for key in sorted(_globals(function.__code__) & function.__globals__.keys()):
            self.say(key)
            self.visit(function.__globals__[key], key)
        self._mapping(own, name)

    def _class(self, kind: type, name: str) -> None:
        if self._imported(kind):
            return
        self.say("class", kind.__qualname__)
        self.classes.append(kind)
        self._several(kind.__bases__, name)
        for key in sorted(vars(kind).keys() - OF_THE_COMPILER):
            self.say(key)
            self.visit(vars(kind)[key], f"{name}.{key}")

    def _object(self, value: Any, name: str, deep: bool) -> None:
        """An object of some class: what it holds is seen where the class is the program's own, or it is an array."""
        names = [getattr(value, key, None) for key in ("__module__", "__qualname__", "__name__")]  # of a builtin
        self.say(*(text for text in names if isinstance(text, str)))
        wrapped = [getattr(value, key, None) for key in WRAPPED]
        self._several([inner for inner in wrapped if isinstance(inner, FunctionType)], name)
        if hasattr(value, "__array__"):
            self._array(value, name)
        self.visit(type(value), name)
        if deep or isinstance(value, NAMESPACES) or not importable(type(value)):
            held = object.__getstate__(value)  # its `__dict__`; with slots a pair of that and their values
            for state in held if isinstance(held, tuple) else (held,):
                self._mapping(dict(sorted((state or {}).items())), name)

    def _array(self, value: Any, name: str) -> None:
        """An array, a tensor or a table."""
        import numpy as np

        try:
            usage = value.memory_usage().sum() if hasattr(value, "columns") else getattr(value, "nbytes", 0)
            self.large.append((name, int(usage)))
            if usage > LIMIT:
                return
            array = np.asarray(value)
        except Exception:  # one that has no values yet
            return
        self.say(array.dtype.str, array.shape)
        if array.dtype == object:
            self._several(array.ravel().tolist(), name)
        else:
            self.say(hashlib.sha256(array.tobytes()).hexdigest())

    def _imported(self, target: Any) -> bool:
        """Whether workers import this by its name, which is all there is to say of it then."""
        if not importable(target):
            return False
        self.say("imported", target.__module__, target.__qualname__)
        self.imports.add(target.__module__.partition(".")[0])
        return True


def _of_a_set(item: object) -> str:
    """What an element of a set is, however the set is ordered."""
    if isinstance(item, PLAIN):
        return repr(item)
    if isinstance(item, (tuple, frozenset)):
        inner = list(map(_of_a_set, item))
        return repr(inner if isinstance(item, tuple) else sorted(inner))
    return type(item).__name__


def importable(target: Any) -> bool:
    """Whether another process gets this function or class by importing its name."""
    found: Any = sys.modules.get(target.__module__ or "") if target.__module__ != "__main__" else None
    for part in target.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is target


def _globals(code: CodeType) -> set[str]:
    """The names of globals that code refers to, the functions inside of it included."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    own = {
        str(step.argval)
        for step in dis.get_instructions(code)
        if step.opname.endswith(("_GLOBAL", "_GLOBALS", "_NAME"))
    }
    return own.union(*map(_globals, inner))
