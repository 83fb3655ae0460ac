"""A study's own code on the import path of a worker: folders of its node, or a package of what was submitted.

A package is a zip archive of Python files, each under the absolute path that it had, in a folder that is named by its
SHA-256. Python imports from it as it is, and a module's `__file__` is the path that it had: what its code reads beside
itself is found where a node has that folder.

A worker serves studies by turns, and their modules may have the same names. So the import paths of one study take the
place of those of the one before, whose modules are forgotten.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import sys
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from zipimport import zipimporter

from workers.failures import StorageFailed

ARCHIVE = "user-code.zip"  # what the file of a package is called
LIMIT = 8 * 1024**2  # bytes of Python files that a package may hold
MAIN = "main_"  # begins the names of modules that stand for a script or a notebook; 12 digits of a SHA-256 follow
SHOWN = 3  # files that a refusal names

_MADE = "/made"  # the folder of such modules, in a package alone
NO_MODULES: Mapping[str, bytes] = {}
_MARK = f"/{ARCHIVE}"  # in a path: what follows it lies in a package
_OURS = {Path(__file__).parents[1] / room for room in ("db", "search_spaces", "tuner", "workers")}


class PackageRefused(ValueError):
    """The files cannot be packed. One sentence."""


# --- packing ----------------------------------------------------------------------------------------------------------


def pack(folders: Sequence[str], made: Mapping[str, bytes] = NO_MODULES, outside: Sequence[str] = ()) -> bytes:
    """A package of all that Python can import from these folders, in this order; equal files give equal bytes.

    Left out is what no import reaches: files that are not `NAME.py`, and folders whose names are no identifiers, such
    as `.git`, `site-packages` or `lib/python3.11`. So are symbolic links to folders, and Ockham, which nodes have.

    Args:
        folders: absolute paths.
        made: sources of modules that lie in no file, by their names.
        outside: absolute paths from which the study's code imports as well, and that are not packed.

    Raises:
        PackageRefused: there is more than `LIMIT`, or a file cannot be read.
    """
    sizes: dict[Path, int] = {}
    room = LIMIT
    for path in _importable(folders):
        if path not in sizes:  # one folder may lie in another
            sizes[path] = path.stat().st_size
            room -= sizes[path]
        if room < 0:
            raise PackageRefused(_too_large(folders, sizes))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not compressed: its bytes are the same whatever zlib there is
        for folder in sorted({parent for path in sizes for parent in path.parents if parent.name}):
            archive.writestr(_entry(f"{folder}/"), b"")  # or Python sees no namespace package in it
        for path in sorted(sizes):
            archive.writestr(_entry(str(path)), _content(path))
        for name in sorted(made):
            archive.writestr(_entry(f"{_MADE}/{name}.py"), made[name])
        archive.comment = json.dumps({"inside": [_MADE] * bool(made) + [*folders], "outside": [*outside]}).encode()
    return buffer.getvalue()


def import_paths(package: Path) -> tuple[str, ...]:
    """What has to be in front of `sys.path` so that modules come from a package: a path inside it per folder."""
    with zipfile.ZipFile(package) as archive:
        folders = json.loads(archive.comment)
    return (*(f"{package}{folder}" for folder in folders["inside"]), *folders["outside"])


def original(path: str) -> str:
    """The folder or file that a path inside a package was; any other path as it is."""
    return path.partition(_MARK)[2] or path


def is_made(entry_point: object) -> bool:
    """Whether "module:attribute" names what a script or a notebook defined."""
    return re.match(rf"{MAIN}[0-9a-f]{{12}}:", str(entry_point)) is not None


def _importable(folders: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        for place, names, files in os.walk(folder):
            inside = [name for name in names if name.isidentifier() and Path(place, name) not in _OURS]
            names[:] = [name for name in inside if name != "__pycache__"]
            paths = [Path(place, name) for name in files if name.endswith(".py") and name[:-3].isidentifier()]
            yield from (path for path in paths if path.is_file())


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path.lstrip("/"))  # of 1980, wherever and whenever it is packed
    entry.create_system = 3
    return entry


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackageRefused(f"{path} belongs to the study's code and cannot be read: {error.strerror}.") from None


def _too_large(folders: Sequence[str], sizes: dict[Path, int]) -> str:
    largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:SHOWN]
    named = ", ".join(f"{path} ({sizes[path] / 1024**2:.1f} MiB)" for path in largest)
    return (
        f"The Python files below {' and '.join(map(repr, folders))} are more than the {LIMIT // 1024**2} MiB that go "
        f"with a study. The largest, as far as was looked: {named}. Submit the study from the folder of its code, or "
        "name that folder in TUNER_IMPORT_PATHS."
    )


# --- importing --------------------------------------------------------------------------------------------------------


class Importer(zipimporter):
    """Imports from a package."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """As a zip archive's, but that `__file__` becomes the path that the module had."""
        spec = super().find_spec(fullname, target)
        if spec is not None and spec.origin is not None:
            spec.origin = original(spec.origin)
        return spec


@dataclass
class _Front:
    """What `use` did last."""

    paths: tuple[str, ...] = ()
    added: tuple[str, ...] = ()  # those that were not on `sys.path` by themselves
    before: frozenset[str] = frozenset()  # modules that no study brought: they were there before its code


_front = _Front()
_turn = threading.Lock()  # trials of one process may begin at once, each in a thread of its own


def use(paths: Sequence[str]) -> None:
    """Put these folders, and paths inside packages, in front of `sys.path`, in place of those of the study before.

    Modules that came from those are forgotten, so that their names mean this study's. What this process had imported
    before it saw any study's code stays.

    Raises:
        StorageFailed: a package is not there, or is not what its folder's name says.
    """
    with _turn:
        if paths and not (tuple(paths) == _front.paths and set(paths) <= set(sys.path)):
            _replace(paths)


def _replace(paths: Sequence[str]) -> None:
    for package in {_package(path) for path in paths if _MARK in path}:
        _require(package)
    if not _front.before:
        importlib.import_module("search_spaces")  # ours, before a folder comes in front that may have another one
        _front.before = frozenset(sys.modules)
        sys.path_hooks.insert(0, _importer)
    for name in _modules_from({original(path) for path in _front.paths}):
        sys.modules.pop(name, None)
    sys.path[:] = [path for path in sys.path if path not in _front.added]
    _front.added = tuple(path for path in dict.fromkeys(paths) if path not in sys.path)
    sys.path[:0] = _front.added
    _front.paths = tuple(paths)
    importlib.invalidate_caches()


def in_use() -> tuple[str, ...]:
    """The import paths that `use` was given last: they tell this study's code from that of others."""
    return _front.paths


def _importer(path: str) -> Importer:
    if _MARK not in path:
        raise ImportError(path)
    return Importer(path)


def _package(path: str) -> Path:
    return Path(path.partition(_MARK)[0] + _MARK)


def _require(package: Path) -> None:
    try:
        found = hashlib.sha256(package.read_bytes()).hexdigest()
    except OSError as error:
        reason = f"cannot be read ({error.strerror}): does this node reach the folder of artifacts?"
        raise StorageFailed(f"The study's code in {package} {reason}") from error
    if found != package.parent.name:
        raise StorageFailed(f"The study's code in {package} is damaged: it has SHA-256 {found[:12]}.")


def _modules_from(folders: set[str]) -> list[str]:
    """Names of the modules below top-level ones that a study's import paths brought."""
    known = list(sys.modules.items())  # other threads may import meanwhile
    loaded = [(name, module) for name, module in known if "." not in name and name not in _front.before]
    brought = {name for name, module in loaded if folders.intersection(_places(module))}
    return [name for name, _ in known if name.partition(".")[0] in brought]


def _places(module: ModuleType) -> set[str]:
    """The folders in which a top-level module lies: several for a namespace package."""
    known = vars(module)  # nothing that a lazy module would have to load first
    paths = known.get("__path__") or [known.get("__file__")]
    return {str(Path(original(path)).parent) for path in paths if path}
