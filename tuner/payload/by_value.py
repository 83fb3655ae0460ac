"""Functions and classes that only a running program has, as a module that workers import.

What a script or a notebook defines cannot be imported by another process: the script would run again. So it is taken by
value, with what it refers to there, by cloudpickle, and becomes a module of the study's code package. Such bytes differ
from run to run, so the module is named after what was compiled: the code of the function and of all that it refers to
there, and the plain values. The same cell, run again after a restart, gives the same name, and an edited one another.
"""

from __future__ import annotations

import base64
import io
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import MethodType
from typing import Any

from tuner.errors import InvalidStudy
from tuner.payload.code_reading import Reader, importable
from workers.user_code import LIMIT, MAIN

DIGITS = 12  # of the SHA-256 in a module's name
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
    if isinstance(name, str) and not isinstance(target, (MethodType, Iterator)):  # a generator has a name, too
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
    found = Reader()
    name = getattr(target, "__name__", "")
    name = name if name.isidentifier() else field
    try:
        found.visit(target, field, deep=True)
        large = sorted(found.large, key=lambda item: item[1], reverse=True)
        fits = sum(size for _, size in large) <= LIMIT
        pickled = _pickled(_content(target, found)) if fits else b""
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


def _content(target: Any, found: Reader) -> dict[str, Any]:
    """What the module has to restore: the target, the lines of its files and what Keras knows of its classes."""
    of_keras = {known: kind for kind in found.classes if (known := _keras_name(kind)) is not None}
    sources = {file: lines for file in sorted(found.files) if (lines := linecache.getlines(file))}
    return {"value": target, "sources": sources, "of_keras": of_keras}


def _pickled(value: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        """Takes cached functions by value, too: pickle knows them by their name alone."""

        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({type(_cached): _reduced})

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def _reduced(cached: Any) -> Any:
    return cached.__reduce__() if importable(cached) else (lru_cache, (cached.__wrapped__,))


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
