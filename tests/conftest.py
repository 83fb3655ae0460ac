"""Fixtures for every test: real SQLite files and a real PostgreSQL server. Nothing is skipped where one is missing."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from db import schema
from db.engine import Database, connect
from tests import canary, postgres
from workers.collector import settle

# A busy machine is slow, which is no failure.
hypothesis.settings.register_profile("ockham", deadline=None)
hypothesis.settings.load_profile("ockham")

DIALECTS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--every-fault` runs the whole fault matrix; without it every test of the matrix runs a slice."""
    parser.addoption("--every-fault", action="store_true", help="run the whole fault matrix, not a slice of it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `every_fault` unless it is asked for."""
    if not config.getoption("every_fault"):
        left_out = [item for item in items if item.get_closest_marker("every_fault")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Fail a test that printed or logged the database's password, or left it in a file of its folder (I12)."""
    report = yield
    if call.when == "teardown" and report.passed:
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        places = [str(file) for file in canary.files(folder)] if folder else []
        places += [name for name, text in report.sections if canary.PASSWORD in text]
        if places:
            report.outcome, report.longrepr = "failed", f"I12: the database's password is in {', '.join(places)}"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run in several processes: a file's tests in one of them, and all that share the Ray cluster.

    The marks by which pytest-xdist 3.8 groups tests are not read by pytest 9.2, and a scheduler sees only names: a file
    with Ray's mark in its text is one that shares the cluster.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if _shares_ray(config.rootpath / file) else file

    return ByFile(config, log)


@functools.cache
def _shares_ray(file: Path) -> bool:
    return "mark.ray" in file.read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """Trials that are trained in this process end with a collection of garbage: keep it from walking through all that
    earlier files imported, as a worker's own process does. With TensorFlow in memory each costs half a second else.
    """
    settle()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server's maintenance database."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """Name of a database with our schema, to be copied."""
    with postgres.fresh(postgresql_server) as url:
        database = connect(url)
        schema.prepare(database)
        database.close()
        yield url.rpartition("/")[2].partition("?")[0]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our schema, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = connect(f"sqlite:///{file}")
    schema.prepare(database)
    database.close()
    return file


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """ "sqlite" and "postgresql" in turn."""
    return str(request.param)


@pytest.fixture
def empty_database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a new database without our schema."""
    with ExitStack() as stack:
        if dialect == "sqlite":
            yield f"sqlite:///{tmp_path / 'empty.db'}"
        else:
            yield stack.enter_context(postgres.fresh(request.getfixturevalue("postgresql_server")))


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a new database with our schema and no rows."""
    with ExitStack() as stack:
        if dialect == "sqlite":
            file = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "ockham.db")
            yield f"sqlite:///{file}"
        else:
            server, template = (request.getfixturevalue(f"postgresql_{name}") for name in ("server", "template"))
            yield stack.enter_context(postgres.fresh(server, template))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database with our schema and no rows."""
    database = connect(database_url)
    yield database
    database.close()
