"""What `tuner doctor` looks at: versions, database, folders, and where trials would run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from db import schema
from db.engine import connect
from db.errors import DatabaseError
from tuner.configuration import Settings
from tuner.databases import sqlite_file
from workers.version import version as version_of_ockham

PACKAGES = ("tensorflow", "keras", "keras-tuner", "optuna", "ray", "sqlalchemy", "alembic")
LEAST_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything a study needs on this machine. Changes nothing but an empty schema."""
    return [
        Finding("ockham", True, version_of_ockham()),
        Finding(
            "python", (3, 11) <= sys.version_info[:2] <= (3, 13), f"{platform.python_version()} ({sys.executable})"
        ),
        *(_package(name) for name in PACKAGES),
        _database(settings),
        _folder("artifacts", settings.artifacts),
        _folder("models", settings.models),
        _importable(settings.import_paths),
        Finding("launcher", True, _launcher(settings)),
        Finding("processors", True, f"{os.cpu_count()} cores"),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, f"not installed; run scripts/setup, or: pip install {name}")


def _database(settings: Settings) -> Finding:
    url = settings.safe()["database"]
    try:
        file = sqlite_file(settings.database)
        if file is not None and not file.exists():
            if file.parent != settings.home:
                connect(settings.database)  # refuses a folder that nobody will make
            return Finding("database", True, f"{url} (will be made by the first study)")
        with connect(settings.database) as database:
            schema.check(database)
            return Finding("database", True, f"{url}, schema {schema.version(database)}")
    except DatabaseError as error:
        return Finding("database", False, str(error))


def _folder(what: str, path: Path) -> Finding:
    home = next(parent for parent in (path, *path.parents) if parent.exists())
    if not os.access(home, os.W_OK):
        return Finding(what, False, f"{path} cannot be written to; set TUNER_{what.upper()} to a folder that can")
    free = shutil.disk_usage(home).free
    return Finding(what, free > LEAST_FREE_BYTES, f"{path}, {free / 1024**3:.0f} GiB free")


def _importable(paths: tuple[str, ...]) -> Finding:
    missing = [path for path in paths if not Path(path).is_dir()]
    found = f"{missing[0]} does not exist; set TUNER_IMPORT_PATHS" if missing else os.pathsep.join(paths)
    return Finding("user code", not missing, found)


def _launcher(settings: Settings) -> str:
    descriptions: dict[str, Callable[[], str]] = {
        "ray": lambda: f"ray at {settings.ray_address}" if settings.ray_address else "ray, started on this machine",
        "processes": lambda: "processes of this machine",
        "inline": lambda: "this process",
    }
    return descriptions[settings.launcher]()
