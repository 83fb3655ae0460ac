"""The page of a study: what it plots is what the study found."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import tuner
from db import attempts, studies
from db.attempts import Span
from search_spaces import Choice, Float, Lambda, Space
from tests.commands import in_process
from tuner.configuration import Settings
from tuner.errors import InvalidInput
from tuner.reporting import importance as weighing
from tuner.reporting import report
from tuner.reporting.importance import FEWEST, importance, too_narrow
from tuner.reporting.plots import outcomes, parameters
from tuner.reporting.plots.timeline import timeline
from tuner.reporting.ranking import Ranked, curves_of, ranked_of
from tuner.reporting.results import study_row
from tuner.study import Study

ROOT = Path(__file__).parents[2]
SPACE = Space(
    {
        "x": Float(0.3, 1.0),  # `descent` is best at 0.3, and would be no better below
        "l2": Lambda(1e-4, 1e-1),
        "idle": Choice(["<i>", "b"]),
        "inner": Float(1e-3, 1.0, log=True),
    },
    {"inner": {"idle": ["b"]}},
)

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
AT_NOON = 1_735_732_800_000  # milliseconds since 1970


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study of 40 trials."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings.load({}, home=home, launcher="inline", import_paths=str(ROOT))
    options: dict[str, Any] = {
        "objective": "val_loss",
        "trials": 40,
        "epochs": 6,
        "sampler": "random",
        "pruner": "median",
    }
    study = tuner.create_study("falls", loop="tests.loops:descent", space=SPACE, settings=settings, **options)
    study.run()
    return study


@pytest.fixture(scope="module")
def ranked(study: Study) -> list[Ranked]:
    return ranked_of(study.trials, repeats=1, folds=1)


@pytest.fixture(scope="module")
def folded(study: Study) -> Study:
    """A finished study of 12 configurations, each with two repeats that score differently; some are pruned."""
    options: dict[str, Any] = {"objective": "val_loss", "trials": 24, "repeats": 2, "epochs": 6, "pruner": "median"}
    return tuner.create_study(
        "folded", loop="tests.loops:lucky_descent", space=SPACE, sampler="random", settings=study.settings, **options
    ).run(progress=False)


def test_the_page_needs_nothing_else(study: Study, tmp_path: Path) -> None:
    page = study.report(tmp_path / "page.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page), "it would ask a network"
    assert len(re.findall(r"Plotly\.newPlot\(", page)) == 7  # no `data_loss`: nothing about a penalty
    best = study.best_trial
    assert f"(trial {best.number})" in page
    assert f"<td>{best.number}</td><td>{best.value:.4g}</td>" in page
    assert "&lt;i&gt;" in page
    assert "<td><i>" not in page
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_of_very_many_trials_some_are_plotted_and_the_best_ones(
    study: Study, ranked: list[Ranked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST", 10)
    page = study.report(tmp_path / "page.html").read_text()
    [plotted] = re.findall(r"<p>(\d+) of 40 trials are plotted\.</p>", page)
    assert 5 <= int(plotted) <= 10
    assert f"<td>{study.best_trial.number}</td>" in page
    assert too_narrow(SPACE, ranked, "minimize")[0] in page, "what is said must not depend on what is plotted"
    assert len(re.findall(r"Plotly\.newPlot\(", page)) == 7, "ten trials would be too few for importance"


def test_importance_is_much_the_same_when_it_is_drawn_from_a_part(
    ranked: list[Ranked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether `x` is low decides. A part with more of the good trials in it, which all have that, would not show it."""
    draw, space = random.Random(0), Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    points = [{"x": draw.random(), "y": draw.random()} for _ in range(2000)]
    values = [(point["x"] > 0.12) + 0.3 * point["y"] for point in points]
    trials = [
        replace(ranked[0], number=number, state="complete", params=point, value=value)
        for number, (point, value) in enumerate(zip(points, values, strict=True))
    ]
    whole = importance(space, trials, "minimize")
    monkeypatch.setattr(weighing, "MOST", 500)
    assert whole["x"] > 0.9
    assert importance(space, trials, "minimize") == pytest.approx(whole, abs=0.1)


def test_every_trial_with_a_value_is_in_the_history(study: Study, ranked: list[Ranked]) -> None:
    pruned, complete, best = outcomes.history(ranked, "val_loss", "minimize").data
    counts = study.summary().counts
    assert (len(pruned.x), len(complete.x)) == (counts["pruned"], counts["complete"])
    assert list(best.y) == sorted(best.y, reverse=True)
    assert best.y[-1] == study.best_value


def test_a_parameter_is_shown_where_it_was_active(study: Study, ranked: list[Ranked]) -> None:
    figure = parameters.slices(SPACE, ranked, study.best_trial.number, "val_loss", "minimize")
    worst = max(trial.value for trial in study.trials if trial.state == "complete" and trial.value is not None)
    for place, name in enumerate(SPACE.order):
        pruned, others, best = figure.data[3 * place : 3 * place + 3]
        having = [trial for trial in study.trials if name in trial.params and trial.value is not None]
        assert len(pruned.x) + len(others.x) + len(best.x) == len(having)
        shown = sorted([*pruned.y, *others.y, *best.y])
        assert shown == sorted(min(trial.value or 0.0, worst) for trial in having)
    zero = [text for text in figure.layout.xaxis2.ticktext if float(text) == 0]
    assert zero, "a lambda of zero has its place on the axis"


def test_a_line_goes_through_all_that_a_trial_has(ranked: list[Ranked]) -> None:
    complete = [item for item in ranked if item.state == "complete"]
    best_last = sorted(complete, key=lambda item: -(item.value or 0.0))
    for direction, in_order in (("minimize", best_last), ("maximize", best_last[::-1])):
        [lines] = parameters.parallel(SPACE, ranked, "val_loss", direction).data
        objective, *axes = lines.dimensions
        assert [axis.label for axis in axes] == list(SPACE.order)
        for axis in axes:
            named = dict(zip(axis.tickvals, axis.ticktext, strict=True))
            for item, place in zip(in_order, axis.values, strict=True):
                if axis.label in item.params:
                    assert place == pytest.approx(
                        SPACE.parameters[axis.label].to_unit(item.params[axis.label]), abs=1e-4
                    )
                else:
                    assert (axis.label, named[place]) == ("inner", "not active")
            assert axis.range[0] <= min(axis.tickvals)
        # The last tenth has the last colour and place, so that the others can be told apart.
        worst = in_order[len(in_order) - math.ceil(0.9 * len(in_order))].value
        assert objective.values[0] == worst != in_order[0].value
        assert list(objective.values[5:]) == [item.value for item in in_order[5:]]
        sign = -1.0 if direction == "minimize" else 1.0
        assert list(lines.line.color) == [sign * value for value in objective.values], "the best are drawn on top"
        assert [text for text in objective.ticktext if "or worse" in text] == [f"{worst:.4g} or worse"]


def test_what_was_tried_lies_where_its_two_parameters_are(ranked: list[Ranked]) -> None:
    [dots] = parameters.pair(SPACE, ranked, ("x", "idle"), "val_loss", "minimize").data
    shown = {int(re.findall(r"trial (\d+) ", text)[0]): place for place, text in enumerate(dots.text)}
    judged = [item for item in ranked if item.state in ("complete", "pruned")]
    assert sorted(shown) == [item.number for item in judged]
    for item in judged:
        place = shown[item.number]
        assert dots.x[place] == pytest.approx(SPACE.parameters["x"].to_unit(item.params["x"]), abs=1e-4)
        middle = SPACE.parameters["idle"].to_unit(item.params["idle"])
        assert 0 < abs(dots.y[place] - middle) < 0.25, "beside its option, and nearer to it than to the other one"
        assert (dots.marker.symbol[place] == "circle") == (item.state == "complete")
    assert dots.marker.color[-1] == min(item.value or 0.0 for item in judged), "nothing covers the best one"
    values = [item.value for item in judged if item.state == "complete" and item.value is not None]
    assert max(dots.marker.color) == sorted(values)[math.ceil(0.9 * len(values)) - 1]


def test_lines_are_left_out_where_there_is_one_parameter(study: Study, tmp_path: Path) -> None:
    options: dict[str, Any] = {"objective": "val_loss", "trials": 3, "epochs": 1, "settings": study.settings}
    single = tuner.create_study("single", loop="tests.loops:descent", space=Space({"x": Float(0.3, 1.0)}), **options)
    page = single.run(progress=False).report(tmp_path / "page.html").read_text()
    assert len(re.findall(r"Plotly\.newPlot\(", page)) == 4


def test_a_smaller_model_is_shown_with_what_it_costs(study: Study, ranked: list[Ranked]) -> None:
    complete = [trial for trial in ranked if trial.state == "complete"]
    sized = [replace(trial, weights=None if trial is complete[0] else 10 + trial.number) for trial in complete]
    others, best = outcomes.sizes(sized, study.best_trial.number, "val_loss", "minimize").data
    assert {*zip([*others.x, *best.x], [*others.y, *best.y], strict=True)} == {
        (trial.weights, trial.value) for trial in sized[1:]
    }
    assert list(best.x) == [10 + study.best_trial.number]


def test_no_attempt_covers_another_one() -> None:
    """Members of a cohort begin together, on one worker; those that are pruned end before the others."""

    def span(number: int, worker: str, began: float, ended: float, state: str = "complete") -> Span:
        return Span(number, 1, worker, NOON + timedelta(seconds=began), NOON + timedelta(seconds=ended), state)

    spans = [
        *(span(0, "a", 0, 2, "pruned"), span(1, "a", 0, 9), span(2, "b", 0, 4, "interrupted"), span(3, "a", 2, 5)),
        span(4, "b", 4, 6, "running"),
    ]
    drawn = timeline(spans, 10)
    bars = {text: (bar.y[k], bar.base[k], bar.x[k]) for bar in drawn.data for k, text in enumerate(bar.hovertext)}
    assert bars == {
        "trial 0: pruned, 2.0 s": (0, AT_NOON, 2000),
        "trial 1: complete, 9.0 s": (1, AT_NOON, 9000),
        "trial 3: complete, 3.0 s": (0, AT_NOON + 2000, 3000),
        "trial 2: interrupted, 4.0 s": (2.6, AT_NOON, 4000),
        "trial 4: running, 2.0 s": (2.6, AT_NOON + 4000, 2000),
    }
    assert dict(zip(drawn.layout.yaxis.ticktext, drawn.layout.yaxis.tickvals, strict=True)) == {"a": 0.5, "b": 2.6}
    newest = timeline(spans, 2)
    assert sorted(text for bar in newest.data for text in bar.hovertext) == [
        "trial 3: complete, 3.0 s",
        "trial 4: running, 2.0 s",
    ]
    assert "newest 2 of 5 attempts" in newest.layout.title.text


def test_a_trial_is_shown_with_its_worker(study: Study) -> None:
    with study.database.read() as s:
        spans = attempts.spans(s, study_row(study.database, "falls").id)
    assert {span.worker for span in spans} == {"inline"}
    assert {span.number: span.state for span in spans} == {trial.number: trial.state for trial in study.trials}


def test_a_curve_with_a_hole_is_drawn_with_a_hole(ranked: list[Ranked]) -> None:
    curves = {0: {1: 2.0, 2: math.nan, 3: 1.0}, 1: {1: 0.5}}
    others, best = outcomes.learning_curves(curves, ranked[1], "val_loss").data
    assert list(others.y) == [2.0, None, 1.0, None]
    assert list(best.y) == [0.5]


def test_what_matters_and_what_is_too_narrow(ranked: list[Ranked]) -> None:
    found = importance(SPACE, ranked, "minimize")
    assert next(iter(found)) == "x"
    assert set(found) == {"x", "l2", "idle"}  # not every trial has the other one
    assert sum(found.values()) == pytest.approx(1.0)
    [sentence] = too_narrow(SPACE, ranked, "minimize")
    assert "x near 0.3, the lowest of its range" in sentence
    assert too_narrow(SPACE, ranked, "maximize") != [sentence]
    few = ranked[: FEWEST - 1]
    assert (importance(SPACE, few, "minimize"), too_narrow(SPACE, few, "minimize")) == ({}, [])


def test_what_matters_is_told_from_forty_trials_on(study: Study, ranked: list[Ranked]) -> None:
    found = study.importances()
    assert found == importance(SPACE, ranked, "minimize")
    assert list(found.values()) == sorted(found.values(), reverse=True)
    few = tuner.create_study(
        "few",
        loop="tests.loops:descent",
        space=SPACE,
        objective="val_loss",
        trials=FEWEST - 1,
        epochs=1,
        sampler="random",
        settings=study.settings,
    )
    few.run(progress=False)
    with pytest.raises(
        InvalidInput, match=r"'few' has 39 complete and 0 pruned trials.* from 40 on.*tuner study show few"
    ):
        few.importances()


def test_what_is_ranked_is_what_is_plotted(folded: Study, tmp_path: Path) -> None:
    """Single repeats are of different luck: their values cannot be compared, and the best of them is not the best."""
    best = folded.best_configuration
    first, last = best.trials
    assert best.value is not None
    assert best.standard_error
    page = folded.report(tmp_path / "page.html").read_text()
    shown = f"{best.value:.4g} ± {best.standard_error:.2g}"
    assert f"{shown} (mean of trials {first} to {last})" in page
    assert f"<td>{first} to {last}</td><td>{shown}</td>" in page

    ranked = ranked_of(folded.trials, 2, 1)
    complete = {c.number: c for c in folded.configurations if c.state == "complete"}
    pruned, shown_complete, line = outcomes.history(ranked, "val_loss", "minimize", "configuration").data
    assert dict(zip(shown_complete.x, shown_complete.y, strict=True)) == {n: c.value for n, c in complete.items()}
    assert list(shown_complete.error_y.array) == [c.standard_error for c in complete.values()]
    assert len(pruned.x) > 0
    assert line.y[-1] == best.value > min(trial.value for trial in folded.trials if trial.value is not None)
    curves = {0: {1: 3.0, 2: 1.0, 3: 0.5}, 1: {1: 1.0, 2: 2.0}, 2: {1: 1.0}}
    assert curves_of(curves, 2) == {0: {1: 2.0, 2: 1.5}, 1: {}}, "where a repeat is missing there is no mean"


def test_nothing_to_show_and_nowhere_to_write(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing" / "page.html"
    with pytest.raises(InvalidInput, match=r"cannot be written to .*missing.*--file"):
        report.write(study.database, "falls", missing)
    assert not list(tmp_path.iterdir())
    tuner.create_study(
        "new", loop="tests.loops:descent", space=SPACE, objective="val_loss", settings=study.settings
    ).submit()
    run = in_process(monkeypatch, capfd, study.settings.home)
    for name, hint in (("fals", "falls"), ("new", "no complete trial yet")):
        refused = run("study", "report", name, "--file", str(tmp_path / "page.html"))
        assert (refused.code, hint in refused.err) == (2, True)
    with study.database.write() as s:
        studies.request(s, study_row(study.database, "new").id, "cancelling")
        studies.finish(s, study_row(study.database, "new").id, "cancelled", "cancelled on request")
    for command in (("study", "report"), ("study", "tensorboard"), ("trial", "list"), ("study", "show")):
        said = run(*command, "new")
        assert "yet" not in said.out + said.err
    assert "has no complete trial, so there is nothing to plot." in run("study", "report", "new").err
    assert not list(tmp_path.iterdir())
