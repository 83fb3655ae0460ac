"""Transactions happen wholly or not at all, connections are safe ones, and failures are sentences without secrets."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from db import dialects, events, schema, studies
from db.engine import Database, connect
from db.errors import DatabaseError, DatabaseUnavailable, InvalidURL
from tests import postgres, rows


def names(database: Database) -> list[str]:
    with database.read() as s:
        return studies.names(s)


def terminate(server: str, which: str, value: object) -> None:
    """Cut connections to the server, and wait until they are gone."""
    with connect(server) as other, other.read() as s:
        ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {which}"
        assert s.execute(text(ended), {"value": value}).all() == [(True,)]


def test_an_error_in_a_transaction_rolls_everything_back(database: Database) -> None:
    with pytest.raises(RuntimeError, match="power"), database.write() as s:  # noqa: PT012
        rows.held(s, rows.study(s))
        raise RuntimeError("power")
    assert names(database) == []
    with database.write() as s:
        rows.study(s)
    assert names(database) == ["digits"]


def test_a_commit_that_failed_leaves_no_open_transaction(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = database._engine.dialect

    def fail(_: object) -> None:
        raise dialect.loaded_dbapi.OperationalError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(dialect, "do_commit", fail)
        with pytest.raises(DatabaseUnavailable, match="disk is full"), database.write() as s:
            rows.study(s)
    assert names(database) == []
    with database.write() as s:
        rows.study(s)
    assert names(database) == ["digits"]


def test_a_signal_in_the_middle_of_a_statement_stays_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = database._engine.dialect

    def interrupted(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:  # as SQLAlchemy's ping of psycopg does
            raise dialect.loaded_dbapi.ProgrammingError("connection in transaction status ACTIVE")

    names(database)
    with monkeypatch.context() as broken:
        broken.setattr(dialect, "do_execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            names(database)
    assert names(database) == []


def test_a_process_killed_in_a_transaction_leaves_nothing(database: Database, database_url: str) -> None:
    program = (
        "import sys, time; from db.engine import connect; from tests import rows\n"
        "with connect(sys.argv[1]).write() as s:\n"
        "    rows.held(s, rows.study(s)); print('written', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, database_url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert names(database) == []
    with database.write() as s:  # and it holds no lock
        rows.study(s)


def test_what_is_read_can_be_used_afterwards_and_is_never_stale(database: Database) -> None:
    with database.write() as s:
        row = studies.get(s, rows.study(s))
        assert studies.request(s, row.id, "stopping")
        assert studies.get(s, row.id).state == "stopping"
    assert (row.name, row.state) == ("digits", "stopping")


def test_a_reader_sees_one_state_throughout_and_does_not_block_the_writer(database: Database) -> None:
    with database.read() as reader:
        assert studies.names(reader) == []
        with database.write() as writer:
            rows.study(writer)
        assert studies.names(reader) == []
    assert names(database) == ["digits"]


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises((SQLAlchemyError, DatabaseError), match=r"read-?only"), database.read() as s:
        rows.study(s)
    with database.write() as s:
        rows.study(s)


def test_rows_cannot_be_changed_as_objects(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
    with pytest.raises(TypeError, match="Study"), database.write() as s:
        studies.get(s, study).state = "finished"
    with database.read() as s:
        assert studies.get(s, study).state == "active"


def test_connections_are_set_up_safely(database: Database) -> None:
    with database.write() as s:
        if database.dialect == "sqlite":
            pragmas = {
                name: s.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
            assert s.scalar(text("PRAGMA busy_timeout")) >= 5000
        else:
            for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
                assert s.scalar(text(f"SHOW {limit}")) not in ("0", "")
    with pytest.raises(SQLAlchemyError, match=r"(?i)foreign key"), database.write() as s:
        events.add(s, "of_nothing", study_id=1234)


def test_errors_do_not_show_values(database: Database) -> None:
    with pytest.raises(SQLAlchemyError) as failure, database.write() as s:
        s.execute(text("INSERT INTO study (nonsense) VALUES (:value)"), {"value": "hunter2"})
    assert "hunter2" not in str(failure.value)


def test_a_cut_connection_is_unavailable_once_and_then_replaced(postgresql_server: str) -> None:
    with postgres.fresh(postgresql_server) as url, connect(url) as database:
        schema.prepare(database)
        with pytest.raises(DatabaseUnavailable, match="cannot be used"), database.write() as s:  # noqa: PT012
            rows.study(s)
            terminate(postgresql_server, "pid = :value", s.scalar(text("SELECT pg_backend_pid()")))
            studies.names(s)
        assert names(database) == []


def test_an_idle_connection_that_was_cut_is_not_noticed(postgresql_server: str) -> None:
    with postgres.fresh(postgresql_server) as url, connect(url) as database:
        schema.prepare(database)
        terminate(postgresql_server, "datname = :value", url.rpartition("/")[2])
        assert names(database) == []


def test_a_locked_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.2)
    database = connect(f"sqlite:///{tmp_path / 'locked.db'}")
    schema.prepare(database)
    other = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"), database.write() as s:
        rows.study(s)
    assert names(database) == []
    other.execute("ROLLBACK")
    other.close()
    with database.write() as s:
        rows.study(s)
    database.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are only notes, and quite a few of them. " * 50)
    database = connect(f"sqlite:///{file}")
    with pytest.raises(InvalidURL, match=r"notes\.txt is not a SQLite database"):
        schema.prepare(database)
    assert file.read_text().startswith("These are only notes")


def test_an_unreachable_server_is_one_sentence_without_the_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        database = connect(f"postgresql://ada:hunter2@127.0.0.1:{port}/studies")
        with pytest.raises(DatabaseUnavailable) as failure:
            schema.check(database)
    message = str(failure.value)
    assert "ada:***@127.0.0.1" in message
    assert "refused" in message
    assert "hunter2" not in message
    assert "\n" not in message


def test_a_database_that_does_not_exist_is_named(postgresql_server: str) -> None:
    database = connect(postgres.named(postgresql_server, "nowhere"))
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        schema.check(database)


def test_a_mistake_in_a_statement_is_not_called_unavailable(database: Database) -> None:
    with pytest.raises(SQLAlchemyError) as failure, database.read() as s:
        s.execute(text("SELECT 1 FROM nowhere"))
    assert isinstance(failure.value, ProgrammingError) or "no such table" in str(failure.value)
