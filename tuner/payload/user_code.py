"""The code that a study names: packed when it is submitted, and put where all of its workers reach it.

The database is what every submitter reaches, and the artifacts are what every node does: so a package is a row, and who
runs the study puts it among the artifacts. Both name it by the SHA-256 of its content.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from db import code_packages
from db.engine import Database
from db.tables import Study
from tuner.configuration import Settings
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidStudy
from tuner.payload.by_value import Module
from workers import user_code
from workers.artifacts import ArtifactDamaged, ArtifactStore
from workers.contract import LauncherError

FOLDER = ".code"  # of the packages among the artifacts; no study has such a name
SHOWN = 12  # digits of a SHA-256 that a person is shown

log = logging.getLogger("tuner.payload.user_code")


def pack(
    definition: StudyDefinition, settings: Settings, made: Sequence[Module] = (), *, files: bool = True
) -> bytes | None:
    """The Python files below the import paths, and modules that were made of what a program has in memory. None where
    there is nothing to pack: the modules that the study names lie elsewhere, installed.

    `files`: whether workers may be on other machines, which lack the files; they import them from where they are else.

    Raises:
        InvalidStudy: they are more than a package may hold.
    """
    named = {entry_point.partition(":")[0].partition(".")[0] for entry_point in definition.entry_points}
    named.update(name for module in made for name in module.imports)
    own = any(_lies_in(folder, module) for folder in settings.import_paths for module in named)
    inside = settings.import_paths if own and files else ()
    if not inside and not made:
        return None
    sources = {module.name: module.source for module in made}
    try:
        return user_code.pack(inside, sources, () if files else settings.import_paths)
    except user_code.PackageRefused as error:
        raise InvalidStudy([str(error)]) from None


def place(content: bytes, settings: Settings) -> tuple[str, ...]:
    """Put a package among the artifacts where it is not there yet. Returns the import paths of its code.

    Raises:
        LauncherError: the artifacts cannot be written.
    """
    key, store = key_of(hashlib.sha256(content).hexdigest()), ArtifactStore(settings.artifacts)
    try:
        try:
            store.verify(key)
            store.touch(key)
        except ArtifactDamaged:
            store.write(key, {user_code.ARCHIVE: content}, {"kind": "code"})
        return user_code.import_paths(store.root / key / user_code.ARCHIVE)
    except OSError as error:
        raise LauncherError(f"The study's code cannot be put into {settings.artifacts}: {error.strerror}.") from error


def import_paths(database: Database, settings: Settings, study: Study) -> tuple[str, ...]:
    """Where workers import a study's code from: its package, or for a study without one where the settings say.

    Raises:
        LauncherError: the package is not among the artifacts, and they cannot be written.
    """
    if study.code is None:
        return settings.import_paths
    with database.read() as s:
        content = code_packages.content(s, study.code)
    return () if content is None else place(content, settings)  # None: the study was deleted meanwhile


def with_code(database: Database, settings: Settings, study: Study) -> Settings:
    """The settings with the import paths of a study; otherwise like `import_paths`."""
    return replace(settings, import_paths=import_paths(database, settings, study))


def warn_of_edits(study: Study, definition: StudyDefinition, settings: Settings) -> None:
    """Log that a study keeps the code that it was submitted with, where other code lies in its place now."""
    names_code = any(map(user_code.is_made, definition.entry_points))
    if study.code is None or names_code:  # names that change with the code: it is the same
        return
    try:
        content = pack(definition, settings)
    except InvalidStudy:
        content = b""  # more than a package may hold: certainly another one
    if content is not None and hashlib.sha256(content).hexdigest() != study.code:
        log.warning(
            "Study %r keeps the code that it was submitted with (%s), and what lies in %s now is not the same. To "
            "train with that, submit it under another name.",
            study.name,
            study.code[:SHOWN],
            " and ".join(settings.import_paths),
        )


def warn_of_hidden_modules(settings: Settings) -> None:
    """Log which files take the place of a module of Python's: what imports that afterwards fails in strange ways."""
    for folder in settings.import_paths:
        hiding = sorted(file.name for file in Path(folder).glob("*.py") if file.stem in sys.stdlib_module_names)
        if hiding:
            log.warning(
                "Files in %s hide Python's own modules of the same names from every library: %s. Rename them.",
                folder,
                ", ".join(hiding),
            )


def key_of(sha256: str) -> str:
    """The key of a package among the artifacts."""
    return f"{FOLDER}/{sha256}"


def _lies_in(folder: str, module: str) -> bool:
    return Path(folder, f"{module}.py").is_file() or Path(folder, module).is_dir()
