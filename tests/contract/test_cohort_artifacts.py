"""What a cohort saves at one moment is one artifact, of which each member finds its own part, in whatever company."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trained import saved_weights
from workers.artifacts import ArtifactDamaged, ArtifactStore
from workers.contract import Assignment, Member, Saved, SliceResult, Training
from workers.trials.gate import Events
from workers.worker import Worker

pytestmark = pytest.mark.tensorflow

EPOCHS = 4
POINTS = [{"depth": 1, "width": 6, "batch_size": 32, "learning_rate": rate} for rate in (1e-3, 1e-2, 3e-3, 3e-2)]

Train = Callable[..., SliceResult]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Training(
        study="cohort",
        model="mlp",
        loop=False,
        space=None,
        data={"function": "keras_models:blobs"},
        objective="val_data_loss",
        direction="minimize",
        epochs=EPOCHS,
        patience=None,
        checkpoint_seconds=0.0,
        artifacts=str(tmp_path / "artifacts"),
        import_paths=(str(Path(__file__).parent),),
    )


@pytest.fixture
def train(training: Training) -> Train:
    """Give members to a worker and train them up to an epoch."""
    worker = Worker("w")

    def go(members: Sequence[Member], until: int = EPOCHS, **changes: Any) -> SliceResult:
        worker.start(Assignment("a", replace(training, **changes), tuple(members)))
        result = worker.advance(until, 300.0)
        worker.stop(20.0)
        return result

    return go


def members(*numbers: int, token: int = 1, checkpoints: dict[int, str] | None = None) -> list[Member]:
    keys = checkpoints or {}
    return [Member(number, token, POINTS[number], 100 + number, keys.get(number)) for number in numbers]


def saved(result: SliceResult, kind: str, epoch: int | None = None) -> list[Saved]:
    return [item for item in result.saved if item.kind == kind and epoch in (None, item.epoch)]


def curves(result: SliceResult) -> dict[tuple[int, int], float]:
    return {(report.trial, report.epoch): report.metrics["val_data_loss"] for report in result.reports}


def test_a_moment_is_one_artifact_that_names_its_members(train: Train, training: Training) -> None:
    points = [*POINTS[:3], {**POINTS[3], "width": 7}]  # of another structure: a stack of its own
    result = train([Member(number, 3 + number, point, number) for number, point in enumerate(points)])
    store = ArtifactStore(training.artifacts)
    for epoch in range(1, EPOCHS):
        cohort, single = "cohort/trial-000000..000002/attempt-3", "cohort/trial-000003/attempt-6"
        here = saved(result, "checkpoint", epoch)
        assert {item.trial: item.key for item in here} == {
            **dict.fromkeys(range(3), f"{cohort}/epoch-{epoch:04d}"),
            3: f"{single}/epoch-{epoch:04d}",
        }
        assert len({(item.key, item.sha256, item.bytes) for item in here}) == 2
    [key] = {item.key for item in saved(result, "model")}  # of both stacks: they ended in one slice
    described = store.manifest(key)["members"]
    assert [(item["trial"], item["token"], item["params"]) for item in described] == [
        (number, 3 + number, point) for number, point in enumerate(points)
    ]
    assert {item["trial"]: item["epoch"] for item in described} == {i.trial: i.best_epoch for i in result.ended}
    assert {item.trial: item.weights for item in result.ended} == {
        trial: sum(weight.size for weight in weights)
        for trial, weights in saved_weights(training, points, Events(saved=saved(result, "model"))).items()
    }
    for item in result.saved:
        store.verify(item.key, item.sha256)
    how = "in a cohort of 3 (program: mlp, depth 1)"
    alone = "alone (program: mlp, depth 1): the only trial of its structure in its assignment"
    assert {item.trial: (item.token, item.how) for item in result.trained} == {
        0: (3, how), 1: (4, how), 2: (5, how), 3: (6, alone),
    }  # fmt: skip


def test_any_member_resumes_alone_or_in_other_company(train: Train) -> None:
    expected = curves(train(members(0, 1, 2, 3)))
    first, second = train(members(0, 1), 2), train(members(2, 3), 2)
    keys = {item.trial: item.key for item in [*saved(first, "checkpoint", 2), *saved(second, "checkpoint", 2)]}
    assert len(set(keys.values())) == 2
    for company in ([1], [0, 2, 3]):
        again = train(members(*company, token=2, checkpoints=keys))
        assert curves(again) == {
            (trial, epoch): pytest.approx(expected[trial, epoch], rel=1e-5)
            for trial in company
            for epoch in range(3, EPOCHS + 1)
        }


def test_a_member_that_the_checkpoint_does_not_have_or_a_damaged_one_starts_anew(
    train: Train, training: Training, caplog: pytest.LogCaptureFixture
) -> None:
    [key] = {item.key for item in saved(train(members(0, 1), 2), "checkpoint", 2)}
    mixed = train(members(1, 2, token=2, checkpoints={1: key, 2: key}), checkpoint_seconds=1e9)
    assert {report.trial: report.epoch for report in reversed(mixed.reports)} == {1: 3, 2: 1}
    assert "trial 2, attempt 2" in caplog.text
    rows = Path(training.artifacts) / key / "rows.npz"
    rows.write_bytes(rows.read_bytes()[:-1])
    damaged = train(members(0, 1, token=3, checkpoints={0: key, 1: key}), checkpoint_seconds=1e9)
    assert {report.trial: report.epoch for report in reversed(damaged.reports)} == {0: 1, 1: 1}


def test_a_model_is_exported_from_what_its_trial_shares(train: Train, training: Training, tmp_path: Path) -> None:
    """The weights of a member, found by its number; and a sentence where the artifact has nothing of the trial."""
    from workers.exporting.export import export

    result = train(members(1, 2, token=5), data={"function": "keras_models:blobs"}, checkpoint_seconds=1e9)
    model = saved(result, "model")[1]
    request = {
        "training": training.to_json(),
        "trial": model.trial,
        "params": POINTS[model.trial],
        "seed": 100 + model.trial,
        "artifact_root": training.artifacts,
        "key": model.key,
        "sha256": model.sha256,
        "staging": str(tmp_path / "models" / ".staging-1"),
        "evaluate_test": False,
    }
    answer = export(request)
    best = next(r for r in result.reports if (r.trial, r.epoch) == (model.trial, model.epoch))
    assert answer["scores"]["validation"]["data_loss"] == pytest.approx(best.metrics["val_data_loss"], rel=1e-5)
    written = json.loads((tmp_path / "models/.staging-1/assets.extra/ockham.json").read_text())
    assert (written["trial"], written["token"], written["epoch"]) == (2, 5, model.epoch)
    with pytest.raises(ArtifactDamaged, match=r"nothing of trial 3; it is of 1, 2\."):
        export({**request, "trial": 3})


def test_what_cannot_be_stacked_says_why(train: Train) -> None:
    result = train(members(0, 1), data={"function": "cohort_models:halves"})
    assert [item.how for item in result.trained] == ["alone: the data has several inputs"] * 2
