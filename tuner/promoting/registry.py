"""Promoted models: what there is, what an alias points at, and the way back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from db import events, models
from db.engine import Database, Session
from db.tables import Model
from tuner.errors import InvalidInput, UnknownName
from tuner.names import check_name
from tuner.promoting import publishing, serving_config

_SHOWN = 5  # numbers of versions in a sentence

log = logging.getLogger("tuner.registry")


@dataclass(frozen=True)
class VersionEntry:
    """One version of a promoted model."""

    name: str  # the model's
    number: int
    state: str  # staging | ready | failed
    aliases: tuple[str, ...]  # that point at it now
    study: str
    trial: int
    path: str
    scores: dict[str, Any]
    created: datetime


def versions(database: Database, name: str | None = None) -> list[VersionEntry]:
    """Every version of every model, or of one model, oldest first. Raises UnknownName."""
    with database.read() as s:
        known = [model.name for model in models.listing(s)]
        if name is not None and name not in known:
            raise UnknownName("model", name, known)
        entries = []
        for model_name in known if name is None else [name]:
            model = models.get(s, model_name)
            aliases = models.aliases(s, model.id)
            for row, study, trial in models.origins(s, model_name):
                pointing = tuple(sorted(alias for alias, number in aliases.items() if number == row.number))
                entries.append(
                    VersionEntry(
                        model_name,
                        row.number,
                        row.state,
                        pointing,
                        study,
                        trial,
                        row.path,
                        row.scores or {},
                        row.created_at,
                    )
                )
    return entries


def rollback(database: Database, name: str, alias: str = "champion") -> tuple[int, int]:
    """Point an alias back at the version it had before; once more, at the one before that.

    Returns the number it left and the one it has now.

    Raises:
        UnknownName: no such model or alias.
        InvalidInput: there is nothing to go back to, or that version's folder is gone.
    """

    def back(s: Session, model: Model, now: int | None) -> int:
        if now is None:
            raise UnknownName("alias", alias, models.aliases(s, model.id))
        number = models.previous(s, model.id, alias)
        if number is None:
            raise InvalidInput(
                f"{alias!r} of model {name!r} points at version {now}, and there is none to go back to. "
                f"Point it at another one: tuner model alias {name} VERSION --alias {alias}"
            )
        return number

    left, number = _move(database, name, alias, "alias_rolled_back", back)
    assert left is not None  # or `back` has raised
    return left, number


def point(database: Database, name: str, number: int, alias: str = "champion") -> int | None:
    """Point an alias at a version. Returns the number it left; None where it is new.

    Raises:
        UnknownName: no such model.
        InvalidInput: the alias' name cannot be used, no version of that number can be served, or its folder is gone.
    """
    check_name("alias", alias)

    def given(s: Session, model: Model, now: int | None) -> int:  # noqa: ARG001
        ready = models.ready_numbers(s, model.id)
        if number not in ready:
            newest = ", ".join(map(str, ready[: -_SHOWN - 1 : -1]))
            those = f"the newest that can: {newest}" if ready else "none can"
            raise InvalidInput(
                f"Model {name!r} has no version {number} that can be served; {those}. List all: tuner model list {name}"
            )
        return number

    return _move(database, name, alias, "alias_moved", given)[0]


def _move(
    database: Database, name: str, alias: str, event: str, chosen: Callable[[Session, Model, int | None], int]
) -> tuple[int | None, int]:
    """Point an alias at the version that `chosen` finds; the number it left, and the one it has now."""
    with database.read() as s:
        known = [model.name for model in models.listing(s)]
        if name not in known:
            raise UnknownName("model", name, known)
        model = models.get(s, name)
    with publishing.locked(Path(model.directory)):
        with database.write() as s:
            left = models.aliases(s, model.id).get(alias)
            number = chosen(s, model, left)
            if not (Path(model.directory) / str(number) / "saved_model.pb").exists():
                raise InvalidInput(f"Version {number} of model {name!r} is no longer in {model.directory}.")
            models.set_alias(s, model.id, alias, number)
            events.add(s, event, model=name, alias=alias, left=left, version=number)
        serving_config.write(database, Path(model.directory).parent)
    return left, number


def announce(database: Database) -> None:
    """Write what servers follow again, as rows have it: whoever moved an alias may have ended before that."""
    with database.read() as s:
        folders = {Path(model.directory).parent for model in models.listing(s)}
    for folder in sorted(folders):
        if folder.is_dir():  # else it belongs to another machine
            try:
                serving_config.write(database, folder)
            except OSError as error:
                log.warning("%s was not written, so a server may not follow the last promotion: %s", folder, error)
