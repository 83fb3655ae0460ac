"""The database that the settings name: opened where there is one, made where something is about to be stored."""

from __future__ import annotations

from pathlib import Path

from db import schema
from db.engine import Database, connect
from tuner.configuration import Settings
from tuner.errors import InvalidInput


def open_database(settings: Settings) -> Database:
    """The database of these settings, its folder and its schema made where there are none.

    Raises:
        InvalidInput: the folder cannot be made.
        DatabaseError: the URL cannot be used, or the database does not answer or has another schema.
    """
    make_folder(settings)
    return _prepared(settings)


def find_database(settings: Settings) -> Database | None:
    """The database of these settings; None where it is a file that is not there yet. Makes no file.

    Raises:
        DatabaseError: like `open_database`.
    """
    file = sqlite_file(settings.database)
    if file is None or file.exists():
        return _prepared(settings)
    if file.parent != settings.home:
        connect(settings.database)  # refuses a folder that nobody will make
    return None


def make_folder(settings: Settings) -> None:
    """Make the folder of the database where that is TUNER_HOME. Raises InvalidInput where it cannot be made."""
    file = sqlite_file(settings.database)
    if file is None or file.parent != settings.home:
        return
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The folder {str(settings.home)!r} cannot be made: {error.strerror}. Set TUNER_HOME to one that can."
        ) from None


def sqlite_file(url: str) -> Path | None:
    """The file that a SQLite URL names; None for a server."""
    return Path(url.partition(":///")[2].partition("?")[0]) if url.startswith("sqlite") else None


def _prepared(settings: Settings) -> Database:
    database = connect(settings.database)
    schema.prepare(database)
    return database
