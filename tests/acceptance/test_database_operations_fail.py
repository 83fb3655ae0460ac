"""The N-th operation of the database fails, for every N: one clear error or success, then an undisturbed run's results.

As SQLite tests itself. An operation is a statement or a commit; a commit fails before it is done or after it.
`pytest --every-fault` tries every N, without it a slice that is another one for each kind of failure.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db.engine import Database
from db.errors import DatabaseUnavailable
from tests import promotions
from tests.invariants import check_invariants, check_versions, results
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import parse
from tuner.promoting import promotion, registry
from tuner.reporting.results import study_row
from tuner.submission import submit
from workers.contract import CheckReport
from workers.launchers.inline import InlineLauncher

STUDY: dict[str, Any] = {
    "loop": "tests.loops:descent",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "val_loss",
    "trials": 4,
    "epochs": 4,
    "pruner": "asha",
    "checkpoint_seconds": 0.001,
}
STRIDES = {"sqlite": 23, "postgresql": 90}  # every so many operations fail where not all do


class Failing:
    """Makes one operation of a database's driver fail, and counts them all."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch, number: int, after: bool) -> None:
        self.count, self._number, self._after = 0, number, after
        self._dialect = database._engine.dialect
        for name in ("do_execute", "do_executemany", "do_commit"):
            monkeypatch.setattr(self._dialect, name, self._around(getattr(self._dialect, name), name == "do_commit"))

    def _around(self, operation: Callable[..., None], commits: bool) -> Callable[..., None]:
        def around(*arguments: Any, **options: Any) -> None:
            self.count += 1
            fails = self.count == self._number
            if fails and not (commits and self._after):
                self._fail()
            operation(*arguments, **options)
            if fails:
                self._fail()

        return around

    def _fail(self) -> None:
        raise self._dialect.loaded_dbapi.OperationalError(f"operation {self._number} failed")


class Attempt:
    """A study and a promotion, by someone who tries again after every error, as `tuner serve` and people do."""

    def __init__(self, database: Database, settings: Settings, name: str) -> None:
        self.database, self.settings, self.name = database, settings, name
        self.errors: list[str] = []

    def everything(self) -> None:
        """Submit, run to the end, promote."""
        launcher = InlineLauncher()
        self._again(lambda: submit(parse({**STUDY, "name": self.name}), lambda _: CheckReport(), self.settings))
        coordinator = Coordinator(self.database, launcher, self.settings, only=self.name)
        while self._again(lambda: study_row(self.database, self.name).state) == "active":
            self._again(coordinator.step)
        self._again(coordinator.close)
        self._again(lambda: promotion.promote(self.database, self.settings, self.name))
        launcher.close()

    def _again(self, action: Callable[[], Any]) -> Any:
        while True:
            try:
                return action()
            except DatabaseUnavailable as error:
                self.errors.append(str(error))


@pytest.fixture(autouse=True)
def _without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "export_model", promotions.fake_export)
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)


@pytest.mark.parametrize("after", [False, True], ids=["not_done", "done"])
def test_any_operation_of_the_database_may_fail(
    after: bool,
    database: Database,
    database_url: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.load({}, home=tmp_path, database=database_url, import_paths=str(Path.cwd()))
    count, undisturbed = _fail(database, settings, monkeypatch, 0, after)
    assert count > 100
    stride = 1 if request.config.getoption("every_fault") else STRIDES[database.dialect]
    for number in range(1 + after * stride // 2, count, stride):
        assert _fail(database, settings, monkeypatch, number, after)[1] == undisturbed


def _fail(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> tuple[int, list[Any]]:
    """Let operation `number` fail, or none. Returns how many there were, and what came of the study."""
    with monkeypatch.context() as patched:
        patched.setattr("tuner.databases.connect", lambda _: database)  # whoever opens one fails with us
        patched.setattr(database, "close", lambda: None)
        failing = Failing(database, patched, number, after)
        attempt = Attempt(database, settings, f"study-{number}")
        attempt.everything()
    assert len(attempt.errors) <= 1, "one failure gave more than one error"
    check_invariants(database, attempt.name, settings.artifacts)
    entries = registry.versions(database, attempt.name)
    assert [entry.number for entry in entries if entry.state == "ready"] == check_versions(
        settings.models / attempt.name
    )
    assert entries[-1].aliases == ("champion",)
    return failing.count, results(database, attempt.name)
