"""What differs between SQLite and PostgreSQL: how a connection opens, a transaction begins, what an error means."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, Engine, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from db.errors import DatabaseError, DatabaseUnavailable, InvalidURL

BUSY_SECONDS = 15.0  # a writer waits this long for another one
STATEMENT_SECONDS = 60.0
IDLE_SECONDS = 60.0  # an open transaction whose client fell silent holds locks no longer than this
CONNECT_SECONDS = 5


def prepare(engine: Engine) -> None:
    """Set up every connection that the engine opens."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "do_connect", _limit_connect)
        event.listen(engine, "connect", _open_postgresql)


def reading(engine: Engine) -> Engine:
    """The engine for transactions that see one snapshot and cannot write."""
    return engine.execution_options(
        ockham_write=False, **_postgresql_only(engine, isolation_level="REPEATABLE READ", postgresql_readonly=True)
    )


def writing(engine: Engine) -> Engine:
    """The engine for transactions that write. On SQLite they take the write lock when they begin."""
    return engine.execution_options(ockham_write=True)


def insert(s: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both dialects write alike and SQLAlchemy keeps apart."""
    return sqlite.insert(table) if s.get_bind().dialect.name == "sqlite" else postgresql.insert(table)


def translate(error: SQLAlchemyError, url: str, secrets: tuple[str, ...]) -> DatabaseError | None:
    """What an error of the driver means to a user; None where it is a mistake in a statement."""
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(f"The database {url} is busy: all connections of this process are in use.")
    if not isinstance(error, DBAPIError):
        return None
    cause = " ".join(str(error.orig).split()).rstrip(".")
    for secret in secrets:
        cause = cause.replace(secret, "***")
    if isinstance(error.orig, sqlite3.DatabaseError) and "not a database" in cause:
        return InvalidURL(f"The file of {url} is not a SQLite database; name another file.")
    if _transient(error, cause):
        return DatabaseUnavailable(f"The database {url} cannot be used right now: {cause}.")
    return None


def _transient(error: DBAPIError, cause: str) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        mistakes = ("no such", "syntax error", "has no column", "already exists")
        return isinstance(error, OperationalError) and not any(mistake in cause for mistake in mistakes)
    return error.connection_invalidated or isinstance(error, OperationalError)


def _postgresql_only(engine: Engine, **options: Any) -> dict[str, Any]:
    return options if engine.dialect.name == "postgresql" else {}


def _open_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")  # a commit that returned survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers and the writer do not block each other. The mode is kept in the file, so only its first user changes it.

    The change needs the file alone and does not wait for busy_timeout, so it is tried until others are done.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("ockham_write", False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _limit_connect(_dialect: Any, _entry: Any, _args: Any, options: dict[str, Any]) -> None:
    options.setdefault("connect_timeout", CONNECT_SECONDS)


def _open_postgresql(connection: Any, _: ConnectionPoolEntry) -> None:
    limits = {
        "lock_timeout": BUSY_SECONDS,
        "statement_timeout": STATEMENT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    connection.autocommit = True
    for name, seconds in limits.items():
        connection.execute(f"SET {name} = {int(seconds * 1000)}")
    connection.autocommit = False
