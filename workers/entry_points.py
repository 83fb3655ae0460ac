"""From `"module:attribute"` to the object it names, with errors that say what exists instead."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from workers.user_code import original, use

_OURS = ("db", "search_spaces", "tuner", "workers")


class EntryPointError(ValueError):
    """The text names nothing that can be imported."""


def resolve(entry_point: str, import_paths: Sequence[str] = ()) -> Any:
    """The object that `"package.module:attribute"` names; the attribute may be dotted.

    Args:
        entry_point: module and attribute with a colon between them.
        import_paths: folders, or paths inside packages, that take the front of `sys.path`; see workers/user_code.py.

    Raises:
        EntryPointError: malformed, or the module or the attribute does not exist, or importing it failed.
    """
    module_name, colon, attribute = entry_point.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise EntryPointError(f"{entry_point!r} is not of the form 'module:attribute', for example 'models:build'.")
    use(import_paths)
    value: Any = _import(module_name, entry_point)
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise EntryPointError(_no_attribute(value, module_name, name) + _taken(module_name))
        value = getattr(value, name)
    return value


def _import(name: str, entry_point: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise EntryPointError(_no_module(name, error.name) + _taken(error.name)) from None
        taken = _taken(error.name or "")
        raise EntryPointError(f"{entry_point!r} cannot be imported: {_where(error)}{error}.{taken}") from error
    except BaseException as error:  # a module may raise anything, sys.exit included
        if isinstance(error, KeyboardInterrupt):
            raise
        taken = _taken(error.name or "") if isinstance(error, ImportError) else ""
        raise EntryPointError(
            f"{entry_point!r} cannot be imported: {_where(error)}{type(error).__name__}: {error}"[:2000] + taken
        ) from error


def _taken(module: str) -> str:
    """What to say of a module that is not there, or lacks something, where Ockham's own was found instead of it."""
    package = module.partition(".")[0]
    return f" Ockham has a package {package!r}: give yours another name." if package in _OURS else ""


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    user = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    return f"{Path(user[-1].filename).name}, line {user[-1].lineno}: " if user else ""


def _no_module(name: str, missing: str) -> str:
    near = get_close_matches(name, _modules_beside(name), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    own = [folder or "." for folder in sys.path[:3] if "site-packages" not in folder]  # Ray puts some of its own there
    places = [*dict.fromkeys(map(_place, own)), "the installed packages"]
    return f"There is no module named {missing!r}; looked in {' and '.join(places)}.{hint}"


def _place(folder: str) -> str:
    return repr(original(folder)) + (" as it was submitted" if original(folder) != folder else "")


def _modules_beside(name: str) -> list[str]:
    """Names of modules in the folder where the last part of `name` was looked for."""
    parent, _, _ = name.rpartition(".")
    try:
        spec = importlib.util.find_spec(parent) if parent else None
    except (ImportError, ValueError):
        return []
    inside = list(spec.submodule_search_locations or ()) if spec else []
    found = {module.name for module in pkgutil.iter_modules(inside if parent else sys.path[:3])}
    return [f"{parent}.{stem}" if parent else stem for stem in sorted(found)]


def _no_attribute(value: Any, module: str, name: str) -> str:
    public = [key for key in vars(value) if not key.startswith("_")] if hasattr(value, "__dict__") else []
    near = get_close_matches(name, public, n=3, cutoff=0.5)
    own = [key for key in public if callable(getattr(value, key)) and _defined_in(getattr(value, key), module)]
    if near:
        return f"{module!r} has no {name!r}. Did you mean {' or '.join(map(repr, near))}?"
    return f"{module!r} has no {name!r}; it defines {', '.join(sorted(own)[:10]) or 'nothing that can be called'}."


def _defined_in(value: Any, module: str) -> bool:
    return getattr(value, "__module__", None) == module
