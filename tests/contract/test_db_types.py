"""What is stored comes back the same on both dialects: JSON, NaN and infinities, times, texts."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import clock, events, reports, search_spaces, studies, trials
from db.engine import Database
from db.types import LOG_BYTES, Moment, decode, encode, tail
from tests import rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "\\NaN", "\\\\-Infinity", "NaN\\"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@given(JSON)
def test_json_comes_back_equal(value: Any) -> None:
    assert decode(encode(value)) == value


def test_json_is_plain_also_for_what_json_does_not_know() -> None:
    text = encode({"loss": math.nan, "best": [math.inf, -math.inf], "name": "NaN"})
    assert text == '{"loss": "NaN", "best": ["Infinity", "-Infinity"], "name": "\\\\NaN"}'
    back = decode(text)
    assert math.isnan(back["loss"])
    assert back["best"] == [math.inf, -math.inf]
    assert back["name"] == "NaN"


METRICS = {
    "nan": math.nan, "inf": math.inf, "minus_inf": -math.inf, "minus_zero": -0.0, "tiny": 5e-324, "huge": 1.7e308,
    "third": 1 / 3, "nearly": 0.1 + 0.2,
}  # fmt: skip


def test_metrics_are_bit_equal(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        for index, value in enumerate(METRICS.values()):
            assert rows.report(s, held, 1 + index, METRICS, value, 0.5)
    with database.read() as s:
        curve = reports.curve(s, held.trial)
        objectives = reports.objectives(s, held.study)[0]
    for report, (name, value) in zip(curve, METRICS.items(), strict=True):
        assert {key: bits(metric) for key, metric in report.metrics.items()} == {k: bits(v) for k, v in METRICS.items()}
        if name == "nan":
            assert report.objective is None
            assert math.isnan(objectives[report.epoch])
        else:
            assert report.objective == objectives[report.epoch] == value


def test_a_search_space_comes_back_as_it_was_and_once(database: Database) -> None:
    with database.write() as s:
        first = search_spaces.put(s, rows.SPACE, "hash")
    with database.write() as s:
        assert search_spaces.put(s, rows.SPACE, "hash") == first
        assert search_spaces.put(s, {**rows.SPACE, "family": "mlp"}, "other") != first
        with pytest.raises(ValueError, match="surprise"):
            search_spaces.put(s, {**rows.SPACE, "surprise": 1}, "third")
    with database.read() as s:
        form = search_spaces.get(s, first)
    assert form == rows.SPACE
    assert list(form["parameters"]) == list(rows.SPACE["parameters"])


def test_params_and_notes_come_back_with_their_types(database: Database) -> None:
    params = {"a": None, "b": True, "c": 1, "d": 1.0, "e": "Infinity", "f": "ü\x00\ud800"}
    with database.write() as s:
        study = rows.study(s)
        trials.create(s, study, [trials.New(0, params, seed=2**62, notes={"rng": [1, {"deep": 2.5}]})])
    with database.read() as s:
        row = trials.get(s, study, 0)
    assert row is not None
    assert row.params == params
    assert [type(value) for value in row.params.values()] == [type(value) for value in params.values()]
    assert row.notes == {"rng": [1, {"deep": 2.5}]}
    assert row.seed == 2**62


def test_times_are_aware_utc_and_those_of_the_database(database: Database) -> None:
    before = datetime.now(UTC)
    with database.write() as s:
        first, second = clock.read(s), clock.read(s)
        created = studies.get(s, rows.study(s)).created_at
        events.add(s, "noticed")
        event = rows.events(s)[0]
    after = datetime.now(UTC)
    for moment in (first, second, created, event.at):
        assert moment.tzinfo is UTC
        assert before - timedelta(seconds=1) < moment < after + timedelta(seconds=1)
    assert first <= second <= created <= event.at


def test_the_clock_shows_fractions_of_a_second(database: Database) -> None:
    with database.read() as s:
        shown = {clock.read(s).microsecond for _ in range(200)}
    assert any(microsecond % 1_000_000 for microsecond in shown)


def test_a_naive_time_is_refused_and_a_foreign_one_converted(database: Database) -> None:
    kind, dialect = Moment(), database._engine.dialect
    with pytest.raises(ValueError, match="no time zone"):
        kind.process_bind_param(datetime(2026, 1, 1), dialect)  # noqa: DTZ001
    india = datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    bound = kind.process_bind_param(india, dialect)
    assert kind.process_result_value(bound, dialect) == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_log_keeps_its_last_64_kib(database: Database) -> None:
    held = rows.running(database)
    log = "é" * LOG_BYTES + "\x00\udcff the error"
    with database.write() as s:
        assert rows.end(s, held, "failed", cause="user_error", message="bad\x00name", log=log)
    with database.read() as s:
        attempt = trials.attempts(s, held.trial)[0]
    assert len(attempt.log.encode()) <= LOG_BYTES
    assert attempt.log.endswith("é\N{REPLACEMENT CHARACTER}? the error")
    assert attempt.message == "bad\N{REPLACEMENT CHARACTER}name"
    assert tail("short") == "short"
