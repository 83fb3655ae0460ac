"""How a study is shown: as a page of fields, as one line, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tuner.cli.output import duration, emit_fields, emit_json, short

if TYPE_CHECKING:
    from db.engine import Database
    from tuner.promoting.promotion import PromotedVersion
    from tuner.reporting.results import StudySummary


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `2 studies`."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else many}"


def one_line(now: StudySummary) -> str:
    """State, trials and best so far."""
    from tuner.reporting.results import yet

    trials = ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items())) or f"no trial{yet(now.state)}"
    found = now.best_configuration
    best = f"; best {now.objective} {short(found.value)} (trial {now.best.number})" if now.best and found else ""
    return f"{now.name}: {now.state}, {trials}{best}"


NOBODY = (
    "No coordinator runs it now: start one with `tuner serve`, or run the study's file with `tuner run`, "
    "or the study in Python with `run()`."
)


def unserved(database: Database, now: StudySummary) -> bool:
    """Whether the study has not ended, nobody runs it, and none serves the database, which would claim it."""
    from db import coordinators
    from tuner.verbs import OVER

    if now.state in OVER or now.coordinator is not None:
        return False
    with database.read() as s:
        return coordinators.nodes(s) is None


def show_summary(
    now: StudySummary, output: str, promoted: PromotedVersion | None = None, dashboard: str | None = None
) -> None:
    """Print a study on stdout, and the version that was promoted from it, whose folder is the last line."""
    if output == "json":
        emit_json({**asdict(now), "promoted": asdict(promoted) if promoted else None})
        return
    emit_fields(
        _fields(now) | {"dashboard": f"{dashboard} while a study runs" if dashboard else None} | _promoted(promoted)
    )
    if promoted is not None:
        click.echo(promoted.path)


def _fields(now: StudySummary) -> dict[str, object]:
    best = now.best
    return {
        "study": f"{now.name} ({now.state})" + (f": {now.reason}" if now.reason else ""),
        "coordinator": _coordinator(now),
        "waits": now.waits,
        "unreadable": now.unreadable if now.unreadable != now.waits else None,
        "code": f"as it was submitted ({now.code[:12]})" if now.code else None,
        "share": _share(now),
        "trials": _trials(now),
        "trained": f"one by one: {now.alone}" if now.alone else None,
        "failures": _failures(now),
        "time": duration(now.seconds),
        "stopping": _saved(now),
        "pruning": now.audit.sentence if now.audit else None,
        f"best {now.objective}": _best(now),
        "best parameters": best.params if best else None,
        **_metrics(now.best_metrics),
        "unseen rows": _final(now),
        "simpler ones": _simpler(now),
        "regularization": _regularization(now),
        "plots": f"tuner study report {now.name}" if best and not now.unreadable else None,
    }


def _best(now: StudySummary) -> str | None:
    if now.best is None or now.best_configuration is None:
        return None
    trial = f"trial {now.best.number}, epoch {now.best.best_epoch}"
    mean, error, trials = (
        now.best_configuration.value,
        now.best_configuration.standard_error,
        now.best_configuration.trials,
    )
    if error is None:
        return f"{short(now.best.value)} ({trial})"
    of = f"mean and standard error of trials {trials[0]} to {trials[-1]}"
    return f"{short(mean)} ± {error:.2g} ({of}); the best of them {short(now.best.value)} ({trial})"


def _simpler(now: StudySummary) -> str | None:
    if not _comparable(now) or now.counts.get("complete", 0) < 2:
        return None
    return f"whether one is as good: tuner study simplest {now.name}"


def _regularization(now: StudySummary) -> str | None:
    return f"what it did: tuner study regularization {now.name}" if _comparable(now) else None


def _comparable(now: StudySummary) -> bool:
    """Whether the best model can be scored again: nobody else knows the data of a loop."""
    return now.best is not None and now.best.weights is not None and not now.unreadable


def _metrics(found: Mapping[str, float]) -> dict[str, object]:
    """The metrics of the best epoch by the part of the data that their names tell, without the prefix that tells it.

    Those of the training part have none; nor have any of a loop that does not say what it measures on.
    """
    parts: dict[str, dict[str, float]] = {"training": {}, "validation": {}, "test": {}}
    for name, value in found.items():
        prefix, mark, rest = name.partition("_")
        part = {"val": "validation", "test": "test"}.get(prefix) if mark else None
        parts[part or "training"][rest if part else name] = value
    if not parts["validation"]:
        parts = {"metrics": parts["training"], "test": parts["test"]}
    return {part: metrics for part, metrics in parts.items() if metrics}


def _final(now: StudySummary) -> str | None:
    """What to expect of the winner, or how to find out."""
    from tuner.verbs import OVER

    if now.best is None or now.state not in OVER:
        return None
    if now.final is not None:
        return now.final.sentence
    how = f"`tuner model promote {now.name}` reads it, and so does `tuner study score {now.name}`"
    unread = f"the test part was not read yet for the winner: {how}"
    return unread if now.no_test_part is None else f"none: {now.no_test_part}"


def _coordinator(now: StudySummary) -> str | None:
    from tuner.reporting.results import process_words
    from tuner.verbs import OVER

    if now.state in OVER:
        return None
    nobody = "none; `tuner serve`, `tuner run` of its file or `run()` in Python goes on"
    return process_words(now.coordinator) if now.coordinator else nobody


def _share(now: StudySummary) -> str | None:
    from tuner.verbs import OVER

    if now.state in OVER:
        return None
    limit = "" if now.workers is None else f", at most {counted(now.workers, 'worker')}"
    return f"weight {now.weight:g}, priority {now.priority}{limit}"


def _trials(now: StudySummary) -> str:
    from tuner.reporting.results import yet

    states = ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items())) or f"none{yet(now.state)}"
    return states if sum(now.counts.values()) >= now.planned else f"{states}; {now.planned} planned"


def _failures(now: StudySummary) -> str | None:
    causes = ", ".join(f"{count} x {cause}" for cause, count in sorted(now.failures.items()))
    where = f"`tuner trial list {now.name} --state failed` lists them, `tuner trial explain {now.name} N` tells why"
    return f"{causes}; {where}" if causes else None


def _saved(now: StudySummary) -> str | None:
    all_epochs = now.epochs_without_stopping
    saved, pruned = all_epochs - now.epochs, now.counts.get("pruned", 0)
    if saved <= 0:
        return None
    why = (
        f"; {counted(pruned, 'trial')} pruned because others did better, as `tuner trial explain {now.name} N` tells; "
        "with `pruner: none` in the study every trial goes on"
    )
    return f"saved {saved} of {all_epochs} epochs ({saved / all_epochs:.0%})" + (why if pruned else "")


def noted(version: PromotedVersion) -> str | None:
    """What could not be done when the version was promoted."""
    return " ".join(version.scores.get("notes", [])) or None


def _promoted(version: PromotedVersion | None) -> dict[str, object]:
    if version is None:
        return {}
    reads = version.scores.get("test_reads", 0)
    told = {
        "test": version.scores.get("test"),
        "test part": f"read {counted(reads, 'time')} for this study" if reads else None,
        "note": noted(version),
        "promoted": f"{version.name} version {version.number}, alias {version.alias}",
    }
    return {name: value for name, value in told.items() if value is not None}
