"""Configurations: trials that repeat one another. Trials k * c to k * c + k - 1 are the repeats of configuration c."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, select
from sqlalchemy.orm import Session

from db import states, trials
from db.tables import Decision, Trial
from db.types import finite


def best(
    s: Session, study_id: int, direction: str, repeats: int, limit: int | None = 1, among: Select[int] | None = None
) -> list[Trial]:
    """The best trial of each of the best configurations, the best mean first; where two are equal, the lower number.

    A configuration is ranked by the mean over its repeats, and only when all of them are complete with a finite value.

    Args:
        direction: "minimize" or "maximize".
        repeats: trials per configuration; 1: a configuration is a trial.
        limit: most configurations; None: all.
        among: asks for the ids of the trials whose configurations are looked at; None: all.
    """
    if repeats == 1:
        return trials.best(s, study_id, direction, limit, among)
    configuration, sign = _configuration(repeats), -1.0 if direction == "maximize" else 1.0
    good = and_(Trial.study_id == study_id, Trial.state == "complete", finite(Trial.value))
    if among is not None:
        good = and_(good, configuration.in_(select(configuration).where(Trial.id.in_(among))))
    ranked = select(configuration).where(good).group_by(configuration).having(func.count() == repeats)
    ranked = ranked.order_by(sign * func.avg(Trial.value), configuration).limit(limit)
    groups: defaultdict[int, list[tuple[float, Trial]]] = defaultdict(list)
    chosen = select(Trial).where(Trial.study_id == study_id, configuration.in_(ranked)).order_by(Trial.number)
    for trial in s.scalars(chosen):
        groups[trial.number // repeats].append((sign * float(trial.value or 0.0), trial))
    in_order = sorted(groups.values(), key=lambda group: (sum(value for value, _ in group), group[0][1].number))
    return [min(group, key=lambda item: (item[0], item[1].number))[1] for group in in_order]


def repeats_of(s: Session, trial: Trial, repeats: int) -> list[Trial]:
    """The trials of a trial's configuration that have a row, itself among them, by number."""
    first = trial.number - trial.number % repeats
    return trials.numbered(s, trial.study_id, range(first, first + repeats))


def best_mean(s: Session, study_id: int, direction: str, repeats: int) -> float | None:
    """The mean over the repeats of the best configuration; None while there is none."""
    found = best(s, study_id, direction, repeats)
    return mean_of(s, found[0], repeats) if found else None


def mean_of(s: Session, trial: Trial, repeats: int) -> float | None:
    """The mean over the repeats of a trial's configuration; the trial's own value where it is its only one."""
    if repeats == 1:
        return trial.value
    same = and_(Trial.study_id == trial.study_id, _configuration(repeats) == trial.number // repeats)
    mean: float | None = s.scalars(select(func.avg(Trial.value)).where(same)).one()
    return mean


def undecided(s: Session, study_id: int, repeats: int) -> set[int]:
    """Ids of the completed trials whose configuration has repeats that are not over: one of them may yet win."""
    if repeats == 1:
        return set()
    configuration = _configuration(repeats)
    over = and_(Trial.study_id == study_id, Trial.state.in_(states.terminal(states.TRIAL)))
    waiting = select(configuration).where(over).group_by(configuration).having(func.count() < repeats)
    complete = and_(Trial.study_id == study_id, Trial.state == "complete")
    return set(s.scalars(select(Trial.id).where(complete, configuration.in_(waiting))))


def spared(s: Session, study_id: int, repeats: int) -> dict[int, float | None]:
    """The configurations of which a trial went on although a decision was against it, by number.

    Their values are the means over their repeats; None while one is not complete with a finite value.
    """
    configuration, complete = _configuration(repeats), and_(Trial.state == "complete", finite(Trial.value))
    against = select(Decision.trial_id).where(Decision.action == "spare")
    these = select(configuration).where(Trial.study_id == study_id, Trial.id.in_(against))
    means = select(configuration, func.count().filter(complete), func.avg(Trial.value)).group_by(configuration)
    rows = s.execute(means.where(Trial.study_id == study_id, configuration.in_(these)).order_by(configuration))
    return {number: mean if count == repeats else None for number, count, mean in rows}


def _configuration(repeats: int) -> ColumnElement[int]:
    # Not a bound value: PostgreSQL would take the one in GROUP BY for another.
    return Trial.number // literal_column(str(int(repeats)))
