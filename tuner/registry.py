"""Promoted models: what there is, what an alias points at, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from db import events, models
from db.engine import Database
from tuner import publishing, serving_config
from tuner.errors import InvalidInput, UnknownName


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
    """Point an alias back at the version it had before. Returns the number it left and the one it has now.

    Raises:
        UnknownName: no such model or alias.
        InvalidInput: the alias never pointed anywhere else, or that version's folder is gone.
    """
    with database.read() as s:
        known = [model.name for model in models.listing(s)]
        if name not in known:
            raise UnknownName("model", name, known)
        model = models.get(s, name)
    with publishing.locked(Path(model.directory)):
        with database.write() as s:
            aliases = models.aliases(s, model.id)
            if alias not in aliases:
                raise UnknownName("alias", alias, aliases)
            number = models.previous(s, model.id, alias)
            if number is None:
                raise InvalidInput(f"{alias!r} of model {name!r} has only ever pointed at version {aliases[alias]}.")
            if not (Path(model.directory) / str(number) / "saved_model.pb").exists():
                raise InvalidInput(f"Version {number} of model {name!r} is no longer in {model.directory}.")
            models.set_alias(s, model.id, alias, number)
            events.add(s, "alias_rolled_back", model=name, alias=alias, left=aliases[alias], version=number)
        serving_config.write(database, Path(model.directory).parent)
    return aliases[alias], number
