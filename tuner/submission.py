"""How a study comes into existence: checked without a worker, dry-run on one, then one row. Or found as it is.

Submitting the same study twice, or a hundred times at once, gives one study. Another body under the same name
is refused and the differences are named. Nothing is written before everything was found good.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from db import code_packages, coordinators, events, search_spaces, studies
from db.engine import Database
from db.errors import AlreadyExists
from db.failpoints import failpoint
from db.tables import Study
from search_spaces import Space
from tuner.configuration import Settings
from tuner.databases import find_database, open_database
from tuner.definitions.definition import StudyDefinition
from tuner.definitions.study_form import EDITABLE
from tuner.errors import InvalidStudy, StudyExists
from tuner.payload import in_memory, user_code
from tuner.payload.in_memory import NOTHING, InMemory
from tuner.samplers.sampling import available
from workers.contract import CheckReport, Training
from workers.launchers.capacity import Capacity

Check = Callable[[Training], CheckReport]


def submit(
    definition: StudyDefinition,
    check: Check,
    settings: Settings,
    memory: InMemory = NOTHING,
    *,
    pack: bool = False,
    data_in: Path | None = None,
) -> tuple[Study, bool]:
    """The study's row, and whether this call made it. A refused study leaves no row, no database and no folder.

    Args:
        definition: what the user described; its `space` may be None when it is read from build(hp).
        check: runs the dry run; called only for a study that does not exist yet.
        settings: where the study and its artifacts go, and where user code lies.
        memory: what of the study lies in no file.
        pack: keep the files of the user's code with the study, for workers of other nodes; the dry run imports it from
            there.
        data_in: the artifacts that data in memory is put among; None: those of the settings.

    Raises:
        StudyExists: another study has this name; the differences are named.
        InvalidStudy: the sampler is not installed, the dry run found mistakes, or the user's code is too large.
        LauncherError: the artifacts cannot be written.
    """
    data_in = data_in or settings.artifacts
    existing = find(definition, settings)
    if existing is not None:
        user_code.warn_of_edits(existing, definition, settings)
        if memory.data is not None:
            in_memory.put(memory.data, data_in)
        return existing, False
    if problem := available(definition.sampler):
        raise InvalidStudy([problem])
    user_code.warn_of_hidden_modules(settings)
    package = user_code.pack(definition, settings, memory.modules, files=pack) if pack or memory.modules else None
    with _brought(settings, memory, package, data_in) as import_paths:
        report = check(definition.training(settings.artifacts, import_paths, data_in))
        complete = _complete(definition, report)
        with open_database(settings) as database:
            try:
                row = _insert(database, definition, complete, report, package)
            except AlreadyExists:  # another process was faster
                existing = _find(database, definition)
                if existing is None:
                    raise
                return existing, False
    failpoint("study_committed")
    return row, True


@contextmanager
def _brought(settings: Settings, memory: InMemory, package: bytes | None, data_in: Path) -> Iterator[tuple[str, ...]]:
    """Have the study's data and code among the artifacts, from here on if it is accepted. Gives its import paths."""
    with ExitStack() as stack:
        if memory.data is not None:
            put = partial(in_memory.put, memory.data, data_in)
            stack.enter_context(in_memory.stored(memory.data.key, data_in, settings, put))
        if package is None:
            yield settings.import_paths
        else:
            place = partial(user_code.place, package, settings)
            key = user_code.key_of(hashlib.sha256(package).hexdigest())
            yield stack.enter_context(in_memory.stored(key, settings.artifacts, settings, place))


def find(definition: StudyDefinition, settings: Settings) -> Study | None:
    """The row of the study that `definition` describes; None where the name is free. Raises StudyExists."""
    database = find_database(settings)
    if database is None:
        return None
    with database:
        return _find(database, definition)


def require_node(definition: StudyDefinition, settings: Settings) -> bool:
    """Refuse a study whose trials fit on no node of the coordinators that serve the database.

    Returns whether any of them could say so: where none is up, or its cluster does not answer, nobody knows.
    Raises InvalidStudy.
    """
    database = find_database(settings)
    if database is None:
        return False
    with database, database.read() as s:
        nodes = coordinators.nodes(s)
    misfit = Capacity(nodes).misfit(definition.resources()) if nodes else None
    if misfit is not None:
        raise InvalidStudy([misfit])
    return bool(nodes)


def _find(database: Database, definition: StudyDefinition) -> Study | None:
    with database.read() as s:
        row = studies.find(s, definition.name)
    if row is None or row.body_hash == definition.hash:
        return row
    stored = StudyDefinition.from_json(row.definition)
    if definition.space is None:
        stored = replace(stored, space=None)
    differences = stored.differences(definition)
    if not differences:
        return row  # it was edited since, to what is given now
    listed, name = "\n  ".join(differences), definition.name
    edit = _edit(stored, definition)
    raise StudyExists(
        f"A study named {name!r} exists and is another one:\n  {listed}\n"
        f"Give this one another name, or look at the one that exists: tuner study show {name}{edit}"
    )


def _edit(stored: StudyDefinition, given: StudyDefinition) -> str:
    """What makes the stored study the given one; nothing where they differ in what cannot be changed."""
    limits = {field: getattr(given, field) for field in EDITABLE}
    edited = replace(stored, **limits)
    if edited.differences(given):
        return ""
    asked = {field: value for field, value in limits.items() if field not in stored.followed(given)}
    changed = [f"{field}={json.dumps(value)}" for field, value in asked.items() if getattr(stored, field) != value]
    return f"\nOr have that one go on with these limits: tuner study set {stored.name} {' '.join(changed)}"


def _complete(definition: StudyDefinition, report: CheckReport) -> StudyDefinition:
    if report.problems:
        raise InvalidStudy(report.problems)
    if definition.space is not None:
        return definition
    if report.space is None:
        raise InvalidStudy([f"{definition.model!r} asks for no hyperparameter, so there is nothing to tune."])
    return replace(definition, space=Space.from_json(report.space))


def _insert(
    database: Database, given: StudyDefinition, complete: StudyDefinition, report: CheckReport, package: bytes | None
) -> Study:
    space = complete.space
    if space is None:
        raise InvalidStudy(["The study has no search space."])
    with database.write() as s:
        row = studies.create(
            s,
            name=complete.name,
            definition=complete.to_json(),
            body_hash=given.hash,
            search_space_id=search_spaces.put(s, space.to_json(), space.hash),
            checked=asdict(report),
            code=None if package is None else code_packages.put(s, package),
        )
        events.add(s, "study_submitted", study_id=row.id, body_hash=given.hash)
        failpoint("study_inserted")
        return row
