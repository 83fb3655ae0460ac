"""The password of every test's PostgreSQL, and where it must never be: in rows, files and whatever is printed (I12).

The server of a test trusts its users and takes any password, so it can be in every URL.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

PASSWORD = "-".join(("canary", "5f1c"))  # not written out: a study's package may hold these very files


def require_none_in(*texts: str) -> None:
    """Assert that the password is in none of the texts."""
    for text in texts:
        assert PASSWORD not in text, f"I12: the database's password is in what was said: {_around(text)}"


def files(folder: Path) -> list[Path]:
    """The files below a folder that hold the password."""
    return [file for file in _files(folder) if PASSWORD.encode() in file.read_bytes()]


def require_none_in_rows(url: str) -> None:
    """Assert that the password is in no row of a PostgreSQL database."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    look = sql.SQL("SELECT count(*) FROM {0} WHERE {0}::text LIKE {1}")
    with psycopg.connect(url, autocommit=True) as connection:
        for (name,) in connection.execute(tables).fetchall():
            found = connection.execute(look.format(sql.Identifier(name), f"%{PASSWORD}%")).fetchone()
            assert found == (0,), f"I12: the database's password is in a row of {name}"


def _files(folder: Path) -> Iterable[Path]:
    for file in folder.rglob("*"):
        try:
            if file.is_file() and not file.is_symlink():
                yield file
        except OSError:  # it was removed, or belongs to somebody else
            continue


def _around(text: str) -> str:
    place = text.index(PASSWORD)
    return repr(text[max(0, place - 80) : place + 80])
