"""A database behind two context managers: `read()` and `write()`, each one transaction.

`connect` takes `sqlite:///FILE` or `postgresql://…` and opens nothing yet. Whatever goes wrong with the connection
surfaces as one of db/errors.py; statements never show bound values, and `Database.url` never shows a password.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from db import dialects, urls
from db.errors import DatabaseError
from db.failpoints import COMMITTED, failpoint

__all__ = ["Database", "Session", "connect"]


class _Session(Session):
    """A session whose rows are for reading: changing one would go around the guards, so it is refused."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        changed = sorted({type(row).__name__ for row in (*self.new, *self.dirty, *self.deleted)})
        if changed:
            raise TypeError(f"Rows of {', '.join(changed)} were changed as objects; use the functions of db instead.")
        super().flush(objects)


class Database:
    """One SQLite file or PostgreSQL database, shared by the threads of a process. Not to be carried over a fork."""

    def __init__(self, url: URL) -> None:
        self.url = urls.masked(url)  # safe to print
        self.dialect = url.get_backend_name()  # "sqlite" or "postgresql"
        self._secrets = urls.secrets(url)
        # PostgreSQL's servers restart and firewalls cut idle connections: a ping before use costs 0.1 ms.
        self._engine = create_engine(url, hide_parameters=True, pool_pre_ping=self.dialect == "postgresql", pool_size=8)
        dialects.prepare(self._engine)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database throughout. It cannot write."""
        with self._session(dialects.reading(self._engine)) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose statements become visible together at exit, or not at all after an error.

        Rows that were read stay usable afterwards. They are for reading: every change is a statement.
        """
        with self._session(dialects.writing(self._engine)) as session:
            yield session
            with self._translated():
                try:
                    session.commit()
                except DBAPIError:
                    session.invalidate()  # its transaction may still be open: the connection is not used again
                    raise
            failpoint(COMMITTED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection. The database can be used again; it then opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _session(self, bind: Engine) -> Iterator[Session]:
        # populate_existing: a row that a statement changed is read again, not taken from the session's memory.
        options = {"populate_existing": True}
        with (
            self._translated(),
            _Session(bind, autoflush=False, expire_on_commit=False, execution_options=options) as s,
        ):
            yield s

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            raise _interrupt(error) or self._translate(error) from error

    def _translate(self, error: SQLAlchemyError) -> SQLAlchemyError | DatabaseError:
        return dialects.translate(error, self.url, self._secrets) or error


def _interrupt(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C or signal that a driver was in the middle of a call at, and hid behind an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def connect(url: str) -> Database:
    """A database by its URL. Nothing is opened before it is used.

    Raises:
        InvalidURL: malformed, of another dialect, in memory, or in a folder that does not exist.
    """
    return Database(urls.parse(url))
