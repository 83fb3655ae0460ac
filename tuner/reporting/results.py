"""What a study has found, as frozen values read from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db import attempts, configurations, reports, states, studies, trials
from db.engine import Database, Session
from db.tables import Study, Trial
from tuner.coordination.repeats import over_repeats, state_of
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput, UnknownName
from tuner.reporting.audit import Audit, audit
from tuner.reporting.final_score import FinalScore, found, ranked, without_test_part

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class TrialResult:
    """One trial, as it stands."""

    number: int
    state: str  # queued | running | complete | pruned | failed | cancelled
    params: dict[str, Any]
    value: float | None  # the objective at `best_epoch`; for a pruned trial the best it had
    best_epoch: int | None
    weights: int | None  # of the model of a complete trial; None: not known, as of a loop
    epochs: int  # reported
    seconds: float | None  # from its first start to its end
    attempts: int  # how often it was started
    trained: str | None  # how the latest attempt was trained, in words; None: no worker has said so
    cause: str | None  # why it failed, one of workers.contract.CAUSES
    message: str
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True)
class ConfigurationResult:
    """One point of the space, and what the trials that trained it say together: as many as the study has repeats."""

    number: int
    params: dict[str, Any]
    trials: tuple[int, ...]  # their numbers, as far as they have begun
    state: str  # running | complete | pruned | failed; complete only when every repeat is
    value: float | None  # the mean of a complete one's objectives, by which configurations are ranked
    standard_error: float | None  # of that mean, from the spread over the repeats or folds; None with one


@dataclass(frozen=True)
class StudySummary:
    """What a person wants to know about a study."""

    name: str
    state: str  # see db/states.py: active, paused, stopping, cancelling, stopped, cancelled, finished, failed
    reason: str  # why it ended; empty while it has not
    objective: str
    direction: str
    counts: dict[str, int]  # trials per state
    planned: int  # trials the study may propose
    alone: str | None  # why its trials are trained one by one; None: they need not be, or a loop trains them
    best: TrialResult | None  # with repeats: the best repeat of the best configuration, the one that is promoted
    best_configuration: ConfigurationResult | None
    best_metrics: dict[str, float]  # every metric of the best trial at its best epoch
    final: FinalScore | None  # what the best trial scores on the test part, as far as that was read
    no_test_part: str | None  # why there can be no final score; None where there is a test part
    epochs: int  # trained in all
    epochs_without_stopping: int  # what the finished trials would have trained without pruning and early stopping
    seconds: float  # during which it had a coordinator and was not paused
    failures: dict[str, int]  # failed trials by cause
    code: str | None  # SHA-256 of the package of user code that came with it; None: workers have the code
    coordinator: str | None  # who runs it now, `HOST:PID:…`; None: nobody
    weight: float  # its share of the workers, beside those of other studies
    priority: int  # studies of a higher one come first
    workers: int | None  # most workers at once
    waits: str | None  # why none of its trials runs although some could
    audit: Audit | None  # whether pruning was right; None: the study has no `audit`
    unreadable: str | None  # why this version of Ockham cannot read all of it; None: it can


@dataclass(frozen=True)
class _Winner:
    """What a study says about the best that it has found; the defaults where it has found nothing."""

    trial: TrialResult | None = None
    configuration: ConfigurationResult | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    final: FinalScore | None = None


def study_row(database: Database, name: str) -> Study:
    """The study's row. Raises UnknownName with the closest names."""
    with database.read() as s:
        row = studies.find(s, name)
        if row is None:
            raise UnknownName("study", name, studies.names(s))
        return row


def best(now: StudySummary, repeats: int) -> tuple[TrialResult, ConfigurationResult]:
    """The best trial and its configuration. Raises InvalidInput while there is none."""
    if now.best is None or now.best_configuration is None:
        what = "configuration whose repeats are all complete," if repeats > 1 else "completed trial"
        raise InvalidInput(f"Study {now.name!r} has no {what} with a finite objective{yet(now.state)}.")
    return now.best, now.best_configuration


def yet(state: str) -> str:
    """The word for what a study in this state has not found; nothing where it is over and will not find it."""
    return "" if state in states.terminal(states.STUDY) else " yet"


def trial_results(database: Database, name: str, best: int | None = None) -> list[TrialResult]:
    """Every trial of a study, by number; or only so many of the best complete ones, the best first."""
    row = study_row(database, name)
    direction = row.definition.get("direction", "minimize")
    with database.read() as s:
        epochs, trained = reports.epochs(s, row.id), attempts.trained(s, row.id)
        found = trials.all(s, row.id) if best is None else trials.best(s, row.id, direction, best)
        return [_result(trial, epochs.get(trial.number, 0), trained.get(trial.number)) for trial in found]


def configuration_results(results: Sequence[TrialResult], repeats: int, folds: int = 1) -> list[ConfigurationResult]:
    """What trials say together, by the number of their configuration. `results`: every trial, by number."""
    groups: dict[int, list[TrialResult]] = {}
    for result in results:
        groups.setdefault(result.number // repeats, []).append(result)
    return [_configuration(number, group, repeats, folds) for number, group in groups.items()]


def dataframe(trials: Sequence[TrialResult], repeats: int) -> pandas.DataFrame:
    """One row per trial; see `Study.trials_dataframe`."""
    import pandas

    columns = ("state", "value", "best_epoch", "weights", "epochs", "seconds", "attempts", "cause")
    rows = [
        {
            "number": trial.number,
            "configuration": trial.number // repeats,
            **{name: getattr(trial, name) for name in columns},
            **{f"params_{key}": value for key, value in trial.params.items()},
        }
        for trial in trials
    ]
    return pandas.DataFrame(rows)


def trial_result(database: Database, name: str, number: int) -> TrialResult:
    """One trial of a study. Raises UnknownName for the study, InvalidInput for the trial."""
    row = study_row(database, name)
    with database.read() as s:
        trial = trials.get(s, row.id, number)
        if trial is not None:
            return _result(trial, len(reports.curve(s, trial.id)), attempts.trained(s, row.id, number).get(number))
        raise no_trial(s, row, number)


def no_trial(s: Session, study: Study, number: int) -> InvalidInput:
    """The error that says that a study has no trial of this number, and which ones it has."""
    begun = sum(studies.counts(s, study.id).values())
    has = f"it has the trials 0 to {begun - 1}" if begun else f"it has no trial{yet(study.state)}"
    return InvalidInput(f"Study {study.name!r} has no trial {number}; {has}. List them: tuner trial list {study.name}")


def summary(database: Database, name: str) -> StudySummary:
    """A study at a glance, also one that another version of Ockham wrote. Raises UnknownName."""
    row = study_row(database, name)
    definition, unreadable = StudyDefinition.from_json_to_show(row.definition)
    with database.read() as s:
        totals = studies.totals(s, row.id)
        winner = _winner(s, row, definition, ranked(totals.counts, definition.repeats))
        audited = audit(s, row.id, definition)
    over = totals.counts.get("complete", 0) + totals.counts.get("pruned", 0)
    return StudySummary(
        name=name,
        state=row.state,
        reason=row.reason or "",
        objective=definition.objective,
        direction=definition.direction,
        counts=totals.counts,
        planned=definition.trials,
        alone=None if unreadable else definition.alone(row.checked),
        best=winner.trial,
        best_configuration=winner.configuration,
        best_metrics=winner.metrics,
        final=winner.final,
        no_test_part=without_test_part(definition, row.checked),
        epochs=totals.epochs,
        epochs_without_stopping=over * definition.epochs,
        seconds=row.active_seconds,
        code=row.code,
        coordinator=_coordinator(database, row),
        weight=definition.weight,
        priority=definition.priority,
        workers=definition.workers,
        waits=row.waits if row.state in ("active", "stopping", "cancelling") else None,
        failures=totals.failures,
        audit=audited,
        unreadable=unreadable,
    )


def process_words(owner: str) -> str:
    """A coordinator's owner text, `HOST:PID:…`, in words."""
    host, _, rest = owner.partition(":")
    return f"process {rest.partition(':')[0]} on {host}" if rest else "another coordinator"


def _coordinator(database: Database, row: Study) -> str | None:
    with database.read() as s:
        free = {item.id for item in studies.runnable(s)}
    return None if row.id in free else row.owner


def _winner(s: Session, row: Study, definition: StudyDefinition, among: int) -> _Winner:
    best = configurations.best(s, row.id, definition.direction, definition.repeats)
    if not best:
        return _Winner()
    curve = {report.epoch: report.metrics for report in reports.curve(s, best[0].id)}
    number, repeats = best[0].number // definition.repeats, configurations.repeats_of(s, best[0], definition.repeats)
    return _Winner(
        _result(best[0], len(curve), attempts.trained(s, row.id, best[0].number).get(best[0].number)),
        _configuration(number, repeats, definition.repeats, definition.folds),
        curve.get(best[0].best_epoch or 0, {}),
        found(s, definition, best[0], among),
    )


def _configuration(number: int, group: Sequence[Trial | TrialResult], repeats: int, folds: int) -> ConfigurationResult:
    state = state_of([item.state for item in group], repeats)
    values = [item.value for item in group if item.value is not None]
    together = over_repeats(values, folds) if state == "complete" and len(values) == repeats else None
    return ConfigurationResult(
        number=number,
        params=group[0].params,
        trials=tuple(item.number for item in group),
        state=state,
        value=together.mean if together else None,
        standard_error=together.standard_error if together else None,
    )


def _result(trial: Trial, epochs: int, trained: str | None) -> TrialResult:
    end, start = trial.finished_at, trial.started_at
    return TrialResult(
        number=trial.number,
        state=trial.state,
        params=trial.params,
        value=trial.value,
        best_epoch=trial.best_epoch,
        weights=trial.weights,
        epochs=epochs,
        seconds=(end - start).total_seconds() if end and start else None,
        attempts=trial.token,
        trained=trained,
        cause=trial.cause,
        message=trial.message or "",
        started=start,
        finished=end,
    )
