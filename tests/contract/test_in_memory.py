"""Studies whose data was in memory: stored with the study, found again, and removed when nobody has it any more."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from db.engine import Database
from tests import promotions
from tests.invariants import check_invariants
from tuner import InvalidInput, InvalidStudy, Study, StudyExists, create_study, load_study, running
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.promoting import promotion
from tuner.removal import DRY_RUN_SECONDS, collect_garbage, delete_study
from tuner.reporting.results import study_row
from tuner.submission import submit
from workers.artifacts import DATA, MANIFEST, ArtifactStore
from workers.contract import CheckReport
from workers.launchers import launcher

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(600, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")
SPACE = {"family": "mlp", "depth": 1, "width": [4, 8]}
GOOD = CheckReport()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.load({}, home=tmp_path / "home", database=database_url, launcher="processes", workers=1)


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Those of a program that nobody else knows of."""
    return Settings.load({}, home=tmp_path / "home", launcher="processes", workers=1)


def described(settings: Settings, name: str, x: Any = X, **changes: Any) -> Study:
    options = {"trials": 2, "epochs": 2, "sampler": "random", **changes}
    return create_study(name, data=(x, Y), space=SPACE, settings=settings, **options)


def submitted(study: Study, check: Callable[[Any], CheckReport] = lambda _: GOOD) -> None:
    submit(study.definition, check, study.settings, study._memory)


def stored(settings: Settings) -> list[str]:
    return ArtifactStore(settings.artifacts).keys(DATA)


def refused(_: Any) -> CheckReport:
    return CheckReport(problems=("It is refused.",))


def test_data_goes_with_the_last_study_that_has_it(database: Database, settings: Settings) -> None:
    for name in ("first", "second"):
        submitted(described(settings, name))
    submitted(described(settings, "other", X + 1))
    [one, two] = stored(settings)
    assert delete_study(database, settings, "other") in ([one], [two])
    [key] = stored(settings)
    assert delete_study(database, settings, "first") == []
    assert delete_study(database, settings, "second") == [key]
    assert stored(settings) == []


def test_garbage_is_data_that_no_study_has_and_nobody_submits(database: Database, settings: Settings) -> None:
    store, [kept, old, new] = ArtifactStore(settings.artifacts), [f"{DATA}/{digit * 64}" for digit in "abc"]
    submitted(described(settings, "study"))
    [kept] = stored(settings)
    for key in (old, new):
        store.write(key, {"data.npz": b""}, {})
    then = time.time() - 2 * DRY_RUN_SECONDS
    for key in (kept, old):
        os.utime(store.root / key / MANIFEST, (then, then))
    assert collect_garbage(database, settings, dry_run=True) == [old]
    assert collect_garbage(database, settings, dry_run=False) == [old]
    assert stored(settings) == sorted([kept, new])

    def check(_: Any) -> CheckReport:  # of a study whose data lay here, unused, for long
        assert collect_garbage(database, settings, dry_run=False) == []
        return GOOD

    os.utime(store.root / kept / MANIFEST, (then, then))
    delete_study(database, settings, "study")
    store.write(kept, described(settings, "study")._memory.data.files, {})  # type: ignore[union-attr]
    os.utime(store.root / kept / MANIFEST, (then, then))
    submitted(described(settings, "study"), check)
    assert kept in stored(settings)


def test_a_refused_study_leaves_nothing_and_takes_nothing_from_others(database: Database, settings: Settings) -> None:
    with pytest.raises(InvalidStudy, match="It is refused"):
        submitted(described(settings, "refused"), refused)
    assert not settings.home.exists()

    def meanwhile(_: Any) -> CheckReport:  # another program submits a study of the same data
        submitted(described(settings, "other"))
        return refused(_)

    with pytest.raises(InvalidStudy):
        submitted(described(settings, "refused"), meanwhile)
    [key] = stored(settings)
    with pytest.raises(InvalidStudy):
        submitted(described(settings, "refused"), refused)
    assert stored(settings) == [key], "it was there before"


def test_two_submissions_of_the_same_data_of_which_one_is_refused(database: Database, settings: Settings) -> None:
    """The one that wrote it is refused while the other one's dry run reads it."""

    def first(_: Any) -> CheckReport:
        with pytest.raises(InvalidStudy):
            submitted(described(settings, "refused"), second)
        assert len(stored(settings)) == 1
        return GOOD

    def second(_: Any) -> CheckReport:
        ArtifactStore(settings.artifacts).touch(stored(settings)[0])  # as a third submission does
        return refused(_)

    submitted(described(settings, "study"), first)
    shutil.rmtree(settings.artifacts)
    submitted(described(settings, "study"))
    assert len(stored(settings)) == 1, "the study exists, and its data was gone"


def test_what_is_deleted_during_a_dry_run_is_there_again_when_the_row_is(
    database: Database, settings: Settings
) -> None:
    submitted(described(settings, "study"))

    def check(_: Any) -> CheckReport:
        delete_study(database, settings, "study")
        assert stored(settings) == []
        return GOOD

    submitted(described(settings, "another"), check)
    assert len(stored(settings)) == 1


def test_a_coordinator_with_other_artifacts_leaves_the_study_alone(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    elsewhere = replace(settings, artifacts=tmp_path / "elsewhere")
    submitted(described(settings, "study"))
    workers = launcher("inline")
    coordinator = Coordinator(database, workers, elsewhere)
    try:
        coordinator.step()
    finally:
        coordinator.close()
        workers.close()
    waits = study_row(database, "study").waits
    assert (
        waits is not None
        and f"there is no {stored(settings)[0]} in {elsewhere.artifacts} that may be read. Submit it again" in waits
    )
    with pytest.raises(InvalidInput, match="is not among the artifacts here"):
        running.run(described(elsewhere, "study").definition, elsewhere)
    shutil.move(settings.artifacts, elsewhere.artifacts)
    assert not settings.artifacts.exists()
    submitted(described(elsewhere, "study"))  # the same study, wherever the artifacts are


@pytest.mark.tensorflow
def test_a_cell_that_is_run_again_finds_its_study(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted from here, trained in processes, promoted with a test part, and scored again."""
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)
    study = described(own, "study").run(progress=False)
    again = described(own, "study").run(progress=False)
    assert [trial.state for trial in again.trials] == ["complete"] * 2
    check_invariants(study.database, "study", str(own.artifacts))
    with pytest.raises(StudyExists, match=r"`data\.arrays` is other data"):
        described(own, "study", X + 1)
    version = load_study("study", settings=own).promote("model")
    assert version.final is not None and version.final.rows == 120
    assert study.final_score().value == version.final.value


@pytest.mark.tensorflow
def test_a_frame_is_submitted_with_a_dry_run_and_served(own: Settings) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(label=np.where(Y, "yes", "no"))
    options: dict[str, Any] = {"space": SPACE, "settings": own, "trials": 1, "epochs": 1, "sampler": "random"}
    with pytest.raises(InvalidStudy, match="val_nothing"):
        create_study("study", data={"frame": frame, "target": "label"}, objective="val_nothing", **options).submit()
    assert not own.home.exists()
    study = create_study("study", data={"frame": frame, "target": "label"}, **options).submit()
    assert study.submit() is study
    [key] = stored(own)
    assert ArtifactStore(own.artifacts).keys() == [key], "what the dry run made went with it"
    workers = launcher("inline")
    coordinator = Coordinator(study.database, workers, own)
    try:
        while study.state == "active":
            coordinator.step()
    finally:
        coordinator.close()
        workers.close()
    assert study.state == "finished" and study.best_value > 0
