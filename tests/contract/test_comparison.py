"""The page that compares studies: how fast each found its best, and what is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import tuner
from db import attempts
from db.attempts import Span
from search_spaces import Float, Space
from tests.commands import in_process
from tuner.configuration import Settings
from tuner.errors import InvalidInput
from tuner.reporting import comparison
from tuner.reporting.results import study_row
from tuner.study import Study

ROOT = Path(__file__).parents[2]
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    return Settings.load({}, home=home, launcher="inline", import_paths=str(ROOT))


def new(name: str, settings: Settings, **options: Any) -> Study:
    common: dict[str, Any] = {"objective": "val_loss", "trials": 12, "epochs": 2, "sampler": "random", **options}
    space = Space({"x": Float(0.3, 1.0)})
    return tuner.create_study(name, loop="tests.loops:lucky_descent", space=space, settings=settings, **common)


@pytest.fixture(scope="module")
def studies(settings: Settings) -> list[Study]:
    """Two finished studies, the second one with repeats, and one that has found nothing yet."""
    first = new("plain", settings).run(progress=False)
    second = new("twice", settings, repeats=2, seed=1).run(progress=False)
    return [first, second, new("later", settings).submit()]


def test_the_page_compares_what_is_ranked(studies: list[Study], tmp_path: Path) -> None:
    plain, twice, _ = studies
    page = plain.report(tmp_path / "page.html", beside=["twice", "later"]).read_text()
    assert len(re.findall(r"Plotly\.newPlot\(", page)) == 2
    error = twice.best_configuration.standard_error
    assert f"<td>{plain.best_value:.4g}</td><td>{twice.best_value:.4g} ± {error:.2g}</td><td>nothing yet</td>" in page
    assert "<tr><td>trials</td><td>12</td><td>12</td><td>0</td></tr>" in page
    x = [f"<td>{study.best_params['x']:.4g}</td>" for study in (plain, twice)]
    assert f"<tr><td>x</td>{x[0]}{x[1]}<td></td></tr>" in page
    assert "<tr><td>seed</td><td>0</td><td>1</td><td>0</td></tr>" in page
    assert "<td>sampler</td>" not in page, "it is the same in all of them"
    assert "data differ" not in page


def test_a_best_so_far_is_by_what_it_cost(studies: list[Study]) -> None:
    """Trials are counted, not configurations; seconds are those in which a trial ran."""
    plain, twice, _ = studies
    for study, repeats in ((plain, 1), (twice, 2)):
        progress = comparison._progress(comparison._read(study.database, study.name))
        best, expected = float("inf"), []
        for item in study.configurations:
            if item.value is not None and item.value < best:
                best = item.value
                expected.append((float(repeats * (item.number + 1)), best))
        assert progress.by_trials == [*expected, (12.0, best)]
        assert progress.by_seconds[-1][1] == best
        with study.database.read() as s:
            spans = attempts.spans(s, study_row(study.database, study.name).id)
        ran = sum((span.ended - span.started).total_seconds() for span in spans)
        assert 0 < progress.by_seconds[-1][0] <= ran + 1e-6, "one after the other, and nothing twice"
        assert progress.by_seconds == sorted(progress.by_seconds)


def test_nothing_counts_twice_and_no_pause_at_all() -> None:
    def span(began: float, ended: float) -> Span:
        return Span(0, 1, "w", NOON + timedelta(seconds=began), NOON + timedelta(seconds=ended), "complete")

    active = comparison._active([span(0, 10), span(0, 4), span(5, 12), span(100, 110)])
    found = [active(NOON + timedelta(seconds=at)) for at in (0, 4, 12, 50, 100, 105, 110)]
    assert found == [0, 4, 12, 12, 12, 17, 22]


def test_a_maximum_is_compared_too() -> None:
    assert comparison._improved([(2.0, 0.5), (1.0, 0.4), (3.0, 0.3)], 9.0, minimize=False) == [
        (1.0, 0.4),
        (2.0, 0.5),
        (9.0, 0.5),
    ]


def test_what_cannot_be_compared_is_refused(
    studies: list[Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = studies[0].settings
    new("upwards", settings, direction="maximize").submit()
    new("other", settings, objective="val_other_loss").submit()  # of a loop this shows in the first trial
    new("empty", settings).submit()
    monkeypatch.chdir(tmp_path)
    run = in_process(monkeypatch, capfd, settings.home)
    for names, hint in (
        (
            ("plain", "upwards"),
            "'plain' and 'upwards' cannot be compared: the direction of the one is minimize, of the",
        ),
        (("plain", "other"), "the objective of the one is val_loss, of the other val_other_loss."),
        (("plain", "twice", "plain"), "'plain' is named twice"),
        (("plain", "twic"), "'twice'"),
    ):
        refused = run("study", "report", *names)
        assert (refused.code, hint in refused.err) == (2, True), refused.err
    with pytest.raises(InvalidInput, match=r"None of the studies 'later', 'empty' has found anything"):
        comparison.write(studies[0].database, ["later", "empty"])
    assert not list(tmp_path.iterdir())
    assert run("study", "report", "plain", "twice").out.strip() == "plain-and-twice.html"
    assert run("study", "report", "plain", "twice", "later").out.strip() == "plain-and-2-others.html"
