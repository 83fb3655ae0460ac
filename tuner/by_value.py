"""Functions and classes that only a running program has, as a module that workers import.

What a script or a notebook defines cannot be imported by another process: the script would run again. So it is taken by
value, with what it refers to there, by cloudpickle, and becomes a module of the study's code package. Such bytes differ
from run to run, so the module is named after what was compiled: the code of the function and of all that it refers to
there, and the plain values. The same cell, run again after a restart, gives the same name, and an edited one another.
"""

from __future__ import annotations

import base64
import dis
import hashlib
import io
import linecache
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from tuner.errors import InvalidStudy
from workers.user_code import LIMIT, MAIN

DIGITS = 12  # of the SHA-256 in a module's name
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
OF_THE_COMPILER = {  # what a class has and no person wrote
    "__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "_abc_impl",
}  # fmt: skip
WRAPPED = ("func", "__wrapped__", "python_function")  # of cached_property, lru_cache, tf.function
MODULE = '''"""What a program defined that is no module, as it was when its study was submitted."""
import base64, sys
if sys.version_info[:2] != {version}:
    raise ImportError(
        "the script or notebook that defines it ran on Python {version[0]}.{version[1]}, and this is Python %d.%d: "
        "workers need the same version, or the code has to be a module" % sys.version_info[:2]
    )
import cloudpickle, linecache
_taken = cloudpickle.loads(base64.b85decode({pickled!r}))
for _file, _lines in _taken["sources"].items():  # tracebacks and AutoGraph read them
    linecache.cache[_file] = (sum(map(len, _lines)), None, _lines, _file)
if _taken["of_keras"]:
    import keras
    for _name, _class in _taken["of_keras"].items():
        if ">" in _name:
            keras.saving.register_keras_serializable(*_name.split(">", 1))(_class)
        else:
            keras.saving.get_custom_objects()[_name] = _class
{name} = _taken["value"]
'''


@dataclass(frozen=True)
class Module:
    """What workers import in place of a script or a notebook."""

    name: str
    source: bytes
    imports: frozenset[str]  # top-level names of the modules that it needs


def needed(target: Any) -> bool:
    """Whether this is code that no worker can import by its name."""
    name = getattr(target, "__qualname__", None)
    if isinstance(name, str) and not isinstance(target, MethodType):
        return target.__module__ == "__main__" or "<" in name
    is_model = hasattr(target, "compile")  # one of Keras', which is to be built
    return (callable(target) or callable(getattr(target, "build", None))) and not is_model


def taken(target: Any, field: str) -> tuple[str, Module]:
    """The name of a function, class or HyperModel as workers import it, "module:attribute", and that module.

    Args:
        target: what the program gave.
        field: as what, for sentences: "model", "loop" or "data".

    Raises:
        InvalidStudy: it refers to more than goes with a study, or to something that cannot be stored; one sentence.
    """
    found = _Reader()
    name = getattr(target, "__name__", "")
    name = name if name.isidentifier() else field
    try:
        found.visit(target, field, deep=True)
        large = sorted(found.large, key=lambda item: item[1], reverse=True)
        fits = sum(size for _, size in large) <= LIMIT
        pickled = found.pickled(target) if fits else b""
    except Exception as error:  # whatever the objects' own code raises
        raise InvalidStudy(
            [
                f"`{field}` refers to what cannot be stored with it: {type(error).__name__}: "
                f"{str(error)[:300].rstrip('.')}. Make such things inside of the function, or put it into a module."
            ]
        ) from None
    version = tuple(sys.version_info[:2])
    source = MODULE.format(version=version, pickled=base64.b85encode(pickled), name=name).encode()
    if not fits or len(source) > LIMIT:
        raise InvalidStudy([_too_large(field, large)])
    found.say(version)
    module = f"{MAIN}{found.total.hexdigest()[:DIGITS]}"
    return f"{module}:{name}", Module(module, source, frozenset(found.imports))


def _pickled(value: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        """Takes cached functions by value, too: pickle knows them by their name alone."""

        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({type(_cached): _reduced})

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def _reduced(cached: Any) -> Any:
    return cached.__reduce__() if _importable(cached) else (lru_cache, (cached.__wrapped__,))


@lru_cache
def _cached() -> None:
    """Of the type that such functions have."""


def _too_large(field: str, large: list[tuple[str, int]]) -> str:
    named = ", ".join(f"`{name}` ({size / 1024**2:.1f} MiB)" for name, size in large[:3])
    told = f", such as {named}" if named else ""
    shape = (
        f"; where the function needs its shape alone, give that a name: shape = {large[0][0]}.shape" if large else ""
    )
    return (
        f"`{field}` refers to more than the {LIMIT // 1024**2} MiB that go with a study{told}. Give arrays and tables "
        f"to create_study(data=...), or read them inside of the function{shape}."
    )


def _keras_name(kind: type) -> str | None:
    """The name under which Keras finds a class when it loads a model."""
    keras = sys.modules.get("keras")
    return keras.saving.get_registered_name(kind) if keras is not None and hasattr(kind, "from_config") else None


class _Reader:
    """Goes through what a function refers to, as far as it is taken by value."""

    def __init__(self) -> None:
        self.total = hashlib.sha256()
        self.imports: set[str] = set()
        self.files: set[str] = set()
        self.classes: list[type] = []
        self.large: list[tuple[str, int]] = []  # arrays, by the name that refers to them
        self._seen: dict[int, tuple[int, Any]] = {}

    def pickled(self, target: Any) -> bytes:
        """What was visited, with the lines of its files and what Keras knows of its classes."""
        of_keras = {known: kind for kind in self.classes if (known := _keras_name(kind)) is not None}
        sources = {file: lines for file in sorted(self.files) if (lines := linecache.getlines(file))}
        return _pickled({"value": target, "sources": sources, "of_keras": of_keras})

    def say(self, *parts: object) -> None:
        self.total.update(repr(parts).encode())

    def visit(self, value: Any, name: str, *, deep: bool = False) -> None:
        """Take a value into account. `deep`: with its own attributes, wherever its class comes from."""
        if isinstance(value, PLAIN):
            self.say(type(value).__name__, value)
            return
        if isinstance(value, (set, frozenset)):
            self.say("set", sorted(repr(item) if isinstance(item, PLAIN) else type(item).__name__ for item in value))
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
        if (deep or not _importable(type(value))) and hasattr(value, "__dict__"):
            self._mapping(dict(sorted(vars(value).items())), name)

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
        if not _importable(target):
            return False
        self.say("imported", target.__module__, target.__qualname__)
        self.imports.add(target.__module__.partition(".")[0])
        return True


def _importable(target: Any) -> bool:
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
