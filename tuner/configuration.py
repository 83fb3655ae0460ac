"""What the environment says about where Ockham lives: `TUNER_*` variables, read once into a frozen value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuner.errors import InvalidInput
from tuner.names import brief, near

LAUNCHERS = ("ray", "inline", "processes")
DIALECTS = ("sqlite", "postgresql")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
PREFIX = "TUNER_"
_PORT = re.compile(r"([^\s:/@]+:)?(?P<port>[0-9]{1,5})")
_RAY_ADDRESS = re.compile(r"auto|local|(ray://)?[^\s:/@]+:[0-9]{1,5}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are on this machine. `Settings.load()` reads it; nothing here describes a study."""

    home: Path  # TUNER_HOME: folder of everything below that is not set; default ./ockham
    database: str  # TUNER_DATABASE: URL; default sqlite:///HOME/ockham.db. May hold a password: print `safe()`
    artifacts: Path  # TUNER_ARTIFACTS: folder of checkpoints and weights that all workers share; default HOME/artifacts
    models: Path  # TUNER_MODELS: folder of promoted models, NAME/<integer>; default HOME/models
    launcher: str = "ray"  # TUNER_LAUNCHER: one of LAUNCHERS
    ray_address: str | None = None  # TUNER_RAY_ADDRESS: of a running cluster; None: start one on this machine
    workers: int | None = None  # TUNER_WORKERS: most workers at once; None: as many as there is room for
    import_paths: tuple[str, ...] = ()  # TUNER_IMPORT_PATHS: where user code lies, written like PATH; default here
    log_level: str = "info"  # TUNER_LOG_LEVEL: one of LOG_LEVELS
    log_format: str = "text"  # TUNER_LOG_FORMAT: one of LOG_FORMATS; json has one object per line
    metrics: str | None = None  # TUNER_METRICS: [HOST:]PORT on which `tuner serve` answers Prometheus; None: nowhere

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from the environment. `overrides` (fields by name) win; those that are None are ignored.

        An empty variable counts as unset, as compose files and CI systems leave them.

        Raises:
            InvalidInput: one sentence per wrong variable.
        """
        unknown = [name for name in overrides if name not in cls.__dataclass_fields__]
        if unknown:
            raise InvalidInput(f"`{unknown[0]}` is not a setting.{near(unknown[0], cls.__dataclass_fields__)}")
        reader = _Reader(os.environ if environment is None else environment, overrides)
        home = reader.folder("home", Path("ockham"))
        settings = cls(
            home=home,
            database=reader.database(f"sqlite:///{home / 'ockham.db'}"),
            artifacts=reader.folder("artifacts", home / "artifacts"),
            models=reader.folder("models", home / "models"),
            launcher=reader.one_of("launcher", "ray", LAUNCHERS),
            ray_address=reader.ray_address(),
            workers=reader.workers(),
            import_paths=reader.paths("import_paths", (str(Path.cwd()),)),
            log_level=reader.one_of("log_level", "info", LOG_LEVELS),
            log_format=reader.one_of("log_format", "text", LOG_FORMATS),
            metrics=reader.metrics(),
        )
        if reader.problems:
            raise InvalidInput("\n".join(reader.problems))
        return settings

    def safe(self) -> dict[str, str]:
        """Every setting as text, fit for a log: without the password and the query of the database URL."""
        shown = {item.name: str(getattr(self, item.name)) for item in fields(self)}
        return {**shown, "database": masked(self.database), "import_paths": os.pathsep.join(self.import_paths)}


def masked(url: str) -> str:
    """A database URL without what may be secret in it: the password, and the values of its query."""
    rest = re.sub(r"(?<=[?&])([^=&]*)=[^&]*", r"\1=***", url)
    scheme, mark, after = rest.partition("://")
    if not mark:
        return "***" if "@" in rest else rest
    account, at, place = after.rpartition("@")
    user = account.partition(":")[0] + (":***" if ":" in account else "")
    return f"{scheme}://{user}@{place}" if at else rest


class _Reader:
    """Reads settings one by one and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str], overrides: Mapping[str, Any]) -> None:
        self._environment = environment
        self._overrides = overrides
        self.problems: list[str] = []

    def _given(self, name: str) -> Any:
        if self._overrides.get(name) is not None:
            return self._overrides[name]
        return self._environment.get(PREFIX + name.upper(), "").strip() or None

    def _wrong(self, name: str, given: str, expected: str) -> None:
        where = f"`{name}`" if self._overrides.get(name) is not None else PREFIX + name.upper()
        self.problems.append(f"{where} is {given}; {expected}")

    def folder(self, name: str, default: Path) -> Path:
        given = self._given(name)
        path = Path(default if given is None else given)
        if "\0" in str(path):
            self._wrong(name, repr(str(path)), "expected the path of a folder.")
            return default.absolute()
        path = path.expanduser().absolute()
        if path.exists() and not path.is_dir():
            self._wrong(name, repr(str(path)), "a file; expected a folder, which is made where it is missing.")
        return path

    def one_of(self, name: str, default: str, known: tuple[str, ...]) -> str:
        given = self._given(name)
        if given is None or str(given).lower() in known:
            return default if given is None else str(given).lower()
        self._wrong(name, brief(given), f"expected one of {', '.join(known)}.{near(str(given), known)}")
        return default

    def workers(self) -> int | None:
        given = self._given("workers")
        if given is None:
            return None
        if not isinstance(given, bool) and re.fullmatch(r"[0-9]{1,5}", str(given)) and 1 <= int(given) <= 10_000:
            return int(given)
        self._wrong("workers", brief(given), "expected a whole number from 1 to 10,000.")
        return None

    def ray_address(self) -> str | None:
        given = self._given("ray_address")
        if given is None or (isinstance(given, str) and _RAY_ADDRESS.fullmatch(given)):
            return given
        self._wrong("ray_address", brief(masked(str(given))), "expected auto, HOST:PORT or ray://HOST:PORT.")
        return None

    def metrics(self) -> str | None:
        given = self._given("metrics")
        found = None if given is None else _PORT.fullmatch(str(given))
        if given is None or (found is not None and 1 <= int(found["port"]) <= 65535):
            return None if given is None else str(given)
        self._wrong("metrics", brief(given), "expected PORT or HOST:PORT with a port from 1 to 65535.")
        return None

    def paths(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        given = self._given(name)
        if given is None:
            return default
        items = given.split(os.pathsep) if isinstance(given, str) else [str(item) for item in given]
        folders = tuple(str(Path(item).expanduser().absolute()) for item in items if item)
        for folder in folders:
            if not Path(folder).is_dir():
                self._wrong(name, repr(folder), "expected folders that exist.")
        return folders

    def database(self, default: str) -> str:
        given = str(self._given("database") or default)
        problem = _database_problem(given)
        if problem is not None:
            self._wrong("database", ascii(masked(given)), problem)
        return given


def _database_problem(url: str) -> str | None:
    example = "sqlite:///ockham.db or postgresql://USER@HOST/NAME"
    scheme, mark, _ = url.partition("://")
    if not mark:
        return f"expected a URL such as {example}."
    dialect = scheme.partition("+")[0]
    if dialect not in DIALECTS:
        return f"expected {' or '.join(DIALECTS)} as its dialect, for example {example}.{near(dialect, DIALECTS)}"
    if dialect == "sqlite" and not url.startswith(f"{scheme}:///"):
        return "expected sqlite:///FILE with a relative path, or sqlite:////FOLDER/FILE with an absolute one."
    try:
        parts = urlsplit(url)
        complete = dialect == "sqlite" or (bool(parts.hostname or parts.query) and parts.port != 0)
    except ValueError:
        complete = False
    return None if complete else f"whose host or port cannot be read; expected a URL such as {example}."
