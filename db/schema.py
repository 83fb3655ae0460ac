"""The schema: made, checked and upgraded by the steps in db/migrations.

One step per version, named 0001, 0002, …; the table `ockham_version` says which was applied last. A database is
upgraded in one transaction under a lock, so several processes may try at once, and a crash leaves the old version.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from db.errors import SchemaNewer, SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from db.engine import Database

VERSION_TABLE = "ockham_version"
MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK = 0x0C4A  # of PostgreSQL's advisory locks, the one that upgrades of Ockham take
_UPGRADE_SECONDS = 600  # a step over large tables may take longer than an ordinary statement


def upgrade(database: Database) -> None:
    """Bring the schema to this version, whatever it is now. Raises SchemaNewer; does nothing when it is up to date."""
    from alembic import command

    with database.write() as s:
        connection = s.connection()
        _lock(connection)
        found = _found(connection)
        if found is not None and found not in _known():
            raise SchemaNewer(found, head(), database.url)
        if found != head():
            config = configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def prepare(database: Database) -> None:
    """Create the schema in an empty database, else check it. Raises SchemaOutdated or SchemaNewer."""
    with database.read() as s:
        empty = not _has_tables(s.connection())
    if empty:
        upgrade(database)
    check(database)


def check(database: Database) -> None:
    """Raise SchemaOutdated or SchemaNewer unless the schema is this version's."""
    found = version(database)
    if found == head():
        return
    if found is None or found in _known():
        raise SchemaOutdated(found, head(), database.url)
    raise SchemaNewer(found, head(), database.url)


def version(database: Database) -> str | None:
    """The schema's version; None in a database without our schema."""
    with database.read() as s:
        return _found(s.connection())


def head() -> str:
    """The version that this code works with."""
    return _known()[0]


def configuration() -> Config:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _known() -> list[str]:
    """Every version there is, newest first."""
    return [step.revision for step in _steps().walk_revisions()]


def _steps() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(configuration())


def _found(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _has_tables(connection: Connection) -> bool:
    from db.tables import Base

    names = set(inspect(connection).get_table_names())
    return bool(names & {VERSION_TABLE, *Base.metadata.tables})


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        for limit in ("lock_timeout", "statement_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = '{_UPGRADE_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
