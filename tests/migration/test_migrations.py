"""Migrations make exactly what the models say, on both dialects, once, whoever else tries at the same time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import artifacts, schema, studies, trials
from db.engine import Database, connect
from db.errors import SchemaNewer, SchemaOutdated
from db.tables import Base
from tests import rows

NOW = "'2026-01-01 00:00:00+00:00'"
FIRST_VERSION = (
    f"INSERT INTO search_space (id, hash, schema, created_at) VALUES (1000, 'h', 1, {NOW})",
    "INSERT INTO study (id, name, state, definition, body_hash, search_space_id, checked, term, created_at) "
    f"VALUES (1000, 'digits', 'active', '{{}}', 'b', 1000, '{{}}', 0, {NOW})",
    "INSERT INTO trial (id, study_id, number, state, token, params, notes, seed, epochs, message, created_at) "
    f"VALUES (1000, 1000, 0, 'running', 1, '{{}}', '{{}}', 1, 4, '', {NOW})",
    "INSERT INTO attempt (trial_id, token, worker, lease_until, heartbeat_at, started_at, message, log) "
    f"VALUES (1000, 1, 'w', {NOW}, {NOW}, {NOW}, '', '')",
    "INSERT INTO artifact (id, trial_id, token, kind, epoch, key, sha256, bytes, created_at) "
    f"VALUES (1000, 1000, 1, 'checkpoint', 4, 'digits/old', '5a', {2**40}, {NOW})",
)
"""Rows of a database that version 0001 made."""

OPTUNAS = {"studies", "trials", "version_info", "alembic_version", "trial_params", "trial_values", "study_directions"}


def tables(database: Database) -> set[str]:
    with database.read() as s:
        return set(inspect(s.connection()).get_table_names())


def set_version(database: Database, version: str) -> None:
    with database.write() as s:
        s.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = :version"), {"version": version})


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    with database.read() as s:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(s.connection(), opts=options)
        assert compare_metadata(context, Base.metadata) == []
        found = inspect(s.connection())
        for table in Base.metadata.sorted_tables:
            checks = {check["name"]: check["sqltext"] for check in found.get_check_constraints(table.name)}
            for constraint in table.constraints:
                if constraint.__visit_name__ == "check_constraint":
                    assert set(_words(str(constraint.sqltext))) <= set(_words(checks[str(constraint.name)]))  # type: ignore[attr-defined]
    assert tables(database) == {*Base.metadata.tables, schema.VERSION_TABLE}
    assert not tables(database) & OPTUNAS


def _words(expression: str) -> list[str]:
    return [word for word in "".join(c if c.isalnum() else " " for c in expression).split() if word.islower()]


def test_an_empty_database_is_prepared_and_then_left_alone(empty_database_url: str) -> None:
    with connect(empty_database_url) as database:
        assert schema.version(database) is None
        with pytest.raises(SchemaOutdated, match="no schema of ours"):
            schema.check(database)
        schema.prepare(database)
        assert schema.version(database) == schema.head()
        with database.write() as s:
            rows.study(s)
        schema.prepare(database)
        schema.upgrade(database)
        with database.read() as s:
            assert studies.names(s) == ["digits"]


def test_studies_of_the_first_version_are_kept(empty_database_url: str) -> None:
    """SQLite's table of studies is made anew: rows that point to it stay, and still have to."""
    with connect(empty_database_url) as database:
        with database.write() as s:
            _begin_with_the_first_version(s, _FIRST_ROWS)
        schema.upgrade(database)
        with database.write() as s:
            [row] = [studies.get(s, 7)]
            assert (row.name, row.revision, row.definition, row.term) == ("digits", 0, {"trials": 3}, 4)
            assert [trial.number for trial in trials.all(s, row.id)] == [0]
            assert studies.request(s, row.id, "paused")
        with pytest.raises(IntegrityError), database.write() as s:
            s.execute(text("DELETE FROM study"))


_NOW = "'2026-01-01 00:00:00'"
_FIRST_ROWS = (
    f"INSERT INTO search_space (id, hash, schema, created_at) VALUES (1, 'h', 1, {_NOW})",
    "INSERT INTO study (id, name, state, definition, body_hash, search_space_id, checked, term, created_at) "
    f"""VALUES (7, 'digits', 'active', '{{"trials": 3}}', 'b', 1, '{{}}', 4, {_NOW})""",
    "INSERT INTO trial (id, study_id, number, state, token, params, notes, seed, epochs, message, created_at) "
    f"VALUES (3, 7, 0, 'complete', 0, '{{}}', '{{}}', 1, 0, '', {_NOW})",
    f"INSERT INTO event (id, study_id, kind, data, at) VALUES (1, 7, 'study_submitted', '{{}}', {_NOW})",
)


def test_another_programs_tables_are_left_alone(empty_database_url: str) -> None:
    with connect(empty_database_url) as database:
        with database.write() as s:
            s.execute(text("CREATE TABLE studies (study_id INTEGER)"))
            s.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        schema.prepare(database)
        assert {"studies", "alembic_version", "study"} <= tables(database)


def test_a_newer_schema_is_refused_with_both_versions(database: Database) -> None:
    set_version(database, "9999")
    for use in (schema.check, schema.prepare, schema.upgrade):
        with pytest.raises(SchemaNewer) as refusal:
            use(database)
        for part in ("9999", schema.head(), "tuner db upgrade", database.url):
            assert part in str(refusal.value)
    assert schema.version(database) == "9999"


def test_an_older_schema_is_refused_until_it_is_upgraded(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is added to a copy of the migrations, as the next version of Ockham would."""
    with connect(empty_database_url) as database:
        schema.prepare(database)
        before = schema.head()
        _with_next_step(tmp_path, monkeypatch, "    op.add_column('event', sa.Column('extra', sa.Text()))\n")
        for use in (schema.check, schema.prepare):
            with pytest.raises(SchemaOutdated) as refusal:
                use(database)
            for part in (before, "9998", "tuner db upgrade"):
                assert part in str(refusal.value)
        schema.upgrade(database)
        schema.check(database)
        assert schema.version(database) == "9998"


def test_what_the_first_version_stored_is_kept(empty_database_url: str) -> None:
    """Step 0002 changes a constraint of `artifact`, for which SQLite copies the table."""
    with connect(empty_database_url) as database:
        with database.write() as s:
            _begin_with_the_first_version(s, FIRST_VERSION)
        with pytest.raises(SchemaOutdated):
            schema.check(database)
        schema.upgrade(database)
        with database.write() as s:
            study = studies.find(s, "digits")
            assert study is not None
            [old] = artifacts.of_study(s, study.id)
            assert (old.key, old.sha256, old.bytes, old.epoch) == ("digits/old", "5a", 2**40, 4)
            assert trials.attempts(s, old.trial_id)[0].trained is None
            other = rows.held(s, study.id)
            assert artifacts.add(s, [artifacts.New(other.trial, other.token, "model", 5, old.key, "5a", 1)])
            assert [row.key for row in artifacts.of_study(s, study.id)] == [old.key] * 2
            checkpoint = artifacts.checkpoint(s, old.trial_id)
            assert checkpoint is not None and checkpoint.key == old.key


def test_the_time_of_a_study_that_is_there_is_that_of_its_attempts(empty_database_url: str) -> None:
    """Step 0006 keeps it on the study's row: attempts side by side count once, and the time between them does not."""
    spans = {2: ("00:00:00", "'2026-01-01 00:00:10+00:00'"), 3: ("00:00:04", "'2026-01-01 00:00:06+00:00'")}
    spans |= {4: ("00:00:05", "'2026-01-01 00:00:15+00:00'"), 5: ("01:00:00", "NULL")}
    with connect(empty_database_url) as database:
        with database.write() as s:
            _begin_with_the_first_version(s, FIRST_VERSION)
            for token, (start, end) in spans.items():
                columns = "trial_id, token, worker, lease_until, heartbeat_at, started_at, ended_at, message, log"
                times = f"{NOW}, '2026-01-01 01:00:02+00:00', '2026-01-01 {start}+00:00', {end}"
                s.execute(text(f"INSERT INTO attempt ({columns}) VALUES (1000, {token}, 'w', {times}, '', '')"))
        schema.upgrade(database)
        with database.read() as s:
            assert studies.get(s, 1000).active_seconds == 17.0


def test_an_upgrade_that_fails_changes_nothing(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(empty_database_url) as database:
        schema.prepare(database)
        before, version = tables(database), schema.version(database)
        _with_next_step(
            tmp_path,
            monkeypatch,
            "    op.create_table('half', sa.Column('id', sa.Integer()))\n    raise OSError('power')\n",
        )
        with pytest.raises(OSError, match="power"):
            schema.upgrade(database)
        assert (tables(database), schema.version(database)) == (before, version)


def _begin_with_the_first_version(s: Session, statements: Iterable[str]) -> None:
    """The first schema and its rows, in this transaction."""
    config = schema.configuration()
    config.attributes["connection"] = s.connection()
    command.upgrade(config, "0001")
    for statement in statements:
        s.execute(text(statement))


def _with_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder)
    head = f"import sqlalchemy as sa\nfrom alembic import op\nrevision = '9998'\ndown_revision = {schema.head()!r}\n"
    (folder / "versions" / "9998_next.py").write_text(f"{head}def upgrade() -> None:\n{body}")
    monkeypatch.setattr(schema, "MIGRATIONS", folder)


def test_threads_prepare_at_once(empty_database_url: str) -> None:
    with connect(empty_database_url) as database, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: schema.prepare(database), range(6)))
        schema.check(database)


def test_processes_prepare_at_once(empty_database_url: str) -> None:
    program = "import sys; from db import schema; from db.engine import connect; schema.prepare(connect(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", program, empty_database_url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    with connect(empty_database_url) as database:
        schema.check(database)
