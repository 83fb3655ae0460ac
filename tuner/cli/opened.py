"""The database that a command looks into. Looking makes none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.configuration import Settings

if TYPE_CHECKING:
    from db.engine import Database


def opened(settings: Settings | None = None) -> Database:
    """The database of the settings, open until the command ends. Raises TunerError where there is none yet."""
    from tuner.errors import TunerError

    settings = settings or Settings.load()
    database = opened_if_there(settings)
    if database is None:
        raise TunerError(
            f"There is no database at {settings.safe()['database']} yet: no study was stored there. Start one with "
            "`tuner run STUDY.yaml`, or say where your studies are with TUNER_HOME or TUNER_DATABASE."
        )
    return database


def opened_if_there(settings: Settings | None = None) -> Database | None:
    """The database of the settings, open until the command ends; None where there is none yet."""
    from tuner.databases import find_database

    database = find_database(settings or Settings.load())
    if database is not None:
        click.get_current_context().call_on_close(database.close)
    return database
