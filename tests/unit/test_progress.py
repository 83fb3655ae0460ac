"""The live line and the plain lines."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from tuner.definitions.definition import StudyDefinition, parse
from tuner.reporting.progress import LiveLine, Pace, Snapshot, live

FULL = Snapshot(planned=40, finished=26, running=2, pruned=19, failed=1, best=(17, 0.0500142), seconds_left=5.4)


@pytest.fixture
def definition() -> StudyDefinition:
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    return parse({"name": "digits", "loop": "tests.loops:descent", "space": space, "objective": "val_loss"})


class FakeStudy:
    """The figures that a display asks an active study for."""

    def __init__(self, definition: StudyDefinition) -> None:
        self.definition, self.state = definition, "active"
        self.counts: dict[str, int] = {}
        self.best: tuple[int, float] | None = None


def test_a_line_says_everything_where_there_is_room() -> None:
    assert FULL.text("val_loss") == (
        "26 of 40 trials done, 2 running, 19 pruned, 1 failed, best val_loss 0.050014 (trial 17), about 5 s left"
    )
    assert replace(FULL, best=None, seconds_left=None, failed=0).text("val_loss") == (
        "26 of 40 trials done, 2 running, 19 pruned, no result yet"
    )
    assert replace(FULL, best=None, paused=True).text("val_loss") == (
        "26 of 40 trials done, 2 running, 19 pruned, 1 failed, no result yet, paused"
    )


def test_a_mean_over_repeats_is_not_said_of_one_of_them() -> None:
    text = replace(FULL, repeats=3, failed=0, seconds_left=None).text("val_loss")
    assert text.endswith(", best val_loss 0.050014 (mean of trials 15 to 17)")


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (80, "26/40 done, 2 running, 19 pruned, 1 failed, best val_loss 0.050014, 5 s left"),
        (70, "26/40 done, 2 running, 1 failed, best val_loss 0.050014, 5 s left"),
        (40, "26/40 done, best val_loss 0.050014"),
        (20, "26/40 done"),
        (3, "26/40 done"),
    ],
)
def test_the_least_important_part_goes_first(width: int, text: str) -> None:
    assert FULL.text("val_loss", width) == text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59, "59 s"), (150, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_time_left_in_words(seconds: float, words: str) -> None:
    assert replace(FULL, seconds_left=seconds).text("x").endswith(f"about {words} left")


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_live_line_is_one_line_of_any_terminal(definition: StudyDefinition, width: int, encoding: str) -> None:
    line = LiveLine(replace(definition, name="a" * 128))
    for snapshot in (None, FULL):
        line.snapshot = snapshot
        buffer = io.BytesIO()
        file = io.TextIOWrapper(buffer, encoding=encoding)
        Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False).print(line)
        file.flush()
        shown = buffer.getvalue().decode(encoding)
        assert "\n" not in shown.rstrip("\n")
        assert len(shown.rstrip("\n")) < width


def test_the_time_left_is_told_once_trials_finish_that_began_after_the_first(
    definition: StudyDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, pace = FakeStudy(replace(definition, trials=40)), Pace()

    def seconds_left(at: float, finished: int, state: str = "active") -> float | None:
        monkeypatch.setattr(time, "monotonic", lambda: at)
        study.state, study.counts = state, {"complete": finished - 1, "pruned": 1, "running": 2}
        return pace.snapshot(study).seconds_left  # type: ignore[arg-type]

    assert seconds_left(100, 10) is None  # of an earlier run
    assert seconds_left(130, 11) is None  # 30 seconds in which the worker compiled
    assert seconds_left(131, 12) is None  # it began when the first one did
    assert seconds_left(132, 13) == 27.0  # since the first one, a second for each
    assert seconds_left(140, 16) == 48.0
    assert seconds_left(150, 16, "paused") is None
    assert seconds_left(250, 17) is None
    assert seconds_left(251, 19) == 10.5
    assert seconds_left(252, 37) is not None
    assert seconds_left(253, 38) is None  # the other two are running


def test_without_a_terminal_there_are_plain_lines_now_and_then(
    definition: StudyDefinition, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[0])
    study = FakeStudy(definition)
    with live(definition) as watch:
        watch(None)
        for second, finished, best in [
            (1, 0, None),
            (2, 1, None),
            (4, 2, (1, 0.5)),
            (4.5, 3, (2, 0.4)),
            (16, 4, (2, 0.4)),
        ]:
            times[0], study.counts, study.best = second, {"complete": finished}, best
            watch(study)  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split(",")[0] for line in shown.err.splitlines()] == [
        "digits: starting workers",
        "digits: 0 of 50 trials done",
        "digits: 2 of 50 trials done",
        "digits: 4 of 50 trials done",
    ]


def test_no_progress_is_silence(definition: StudyDefinition, capsys: pytest.CaptureFixture[str]) -> None:
    with live(definition, enabled=False) as watch:
        watch(None)
        watch(FakeStudy(definition))  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
