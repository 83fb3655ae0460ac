"""Deleting studies, and bytes that no row knows. Rows go first: bytes without a row are harmless."""

from __future__ import annotations

import time

from db import artifacts, deletion, studies
from db.engine import Database
from tuner.configuration import Settings
from tuner.definitions.stored_data import key_of as key_of_data
from tuner.errors import InvalidInput, UnknownName
from tuner.payload import in_memory
from tuner.payload.user_code import key_of
from tuner.reporting.results import process_words
from workers.artifacts import DATA, ArtifactStore

DRY_RUN_SECONDS = 3600.0  # longer than any dry run takes


def delete_study(database: Database, settings: Settings, name: str) -> list[str]:
    """Delete a study with everything it found. Returns the keys of the artifacts that were removed.

    Raises:
        UnknownName: there is no such study.
        InvalidInput: a coordinator runs it, or a promoted model comes from it: nothing was deleted.
    """
    with database.write() as s:
        row = studies.find(s, name, lock=True)
        if row is None:
            raise UnknownName("study", name, studies.names(s))
        if row.owner is not None and row.id not in {free.id for free in studies.runnable(s)}:
            raise InvalidInput(
                f"Study {name!r} is being run by {process_words(row.owner)}. End it first: tuner study cancel {name}"
            )
        if versions := deletion.promoted(s, row.id):
            model, version, trial = versions[-1]
            raise InvalidInput(
                f"Study {name!r} cannot be deleted: its trial {trial} is version {version} of the model {model!r}, "
                "whose origin would be lost."
            )
        given = {key_of_data(row.definition.get("data")), row.code and key_of(row.code)}
        deletion.delete_study(s, row.id)
    store = ArtifactStore(str(settings.artifacts))
    keys = store.keys(name)
    with database.read() as s:  # not before: a study of the same data may have been submitted a moment ago
        unused = given - in_memory.keys(s)
    keys = [*(key for own in unused if own for key in store.keys(own)), *keys]
    for key in keys:
        store.remove(key)
    return keys


def collect_garbage(database: Database, settings: Settings, *, dry_run: bool) -> list[str]:
    """Remove artifacts that no row knows, but for those of studies that a coordinator runs. Returns their keys.

    A worker writes bytes before their row is there; so the folders are listed before the rows are. Data of a study that
    is being submitted waits for its row longer, for a dry run: what is new of it stays.
    """
    store = ArtifactStore(str(settings.artifacts))
    keys = store.keys()
    with database.read() as s:
        known = artifacts.keys(s) | in_memory.keys(s)
        running = {row.name for row in studies.leased(s)}
    unknown = [key for key in keys if key not in known and key.partition("/")[0] not in running]
    unknown = [key for key in unknown if not _is_new_data(store, key)]
    if not dry_run:
        for key in unknown:
            if not _is_new_data(store, key):  # asked for meanwhile
                store.remove(key)
        store.clean()
    return unknown


def _is_new_data(store: ArtifactStore, key: str) -> bool:
    limit = time.time() - DRY_RUN_SECONDS
    return key.startswith(f"{DATA}/") and (store.modified(key) or 0.0) > limit
