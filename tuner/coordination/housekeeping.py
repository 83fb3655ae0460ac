"""Which artifacts a study keeps: the models of its best trials, and what a running trial resumes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from db import artifacts, configurations, trials
from db.engine import Session
from db.tables import Trial
from tuner.definitions.definition import StudyDefinition


def remove_stale_rows(s: Session, study_id: int, definition: StudyDefinition) -> list[str]:
    """Forget the artifacts nobody will ask for again. Returns the keys that no row has any more: their bytes may go
    once this is committed. What trials saved together stays until the last of them needs it no more.

    Kept are the models of the best `definition.keep` trials (with repeats, of the best configurations, the best repeat
    of each, and of those that wait for their other repeats), the best one of each smaller size where it is better than
    all that are smaller still, promoted ones, and the newest checkpoint of each trial that is not over. Bytes without a
    row are harmless, a row without bytes is not: so rows go first.
    """
    repeats = definition.repeats
    ranked = configurations.best(s, study_id, definition.direction, repeats, None, artifacts.with_models(study_id))
    best = {trial.id for trial in [*ranked[: definition.keep], *smaller(ranked, _power_of_two)]}
    best |= configurations.undecided(s, study_id, repeats)
    unfinished = {trial.id for trial in [*trials.running(s, study_id), *trials.queued(s, study_id, limit=None)]}
    rows = artifacts.of_study(s, study_id)
    wanted = best | unfinished | artifacts.promoted_trials(s, study_id)
    kept = {row.id for row in rows if row.kind == "model" and row.trial_id in wanted}
    kept |= artifacts.newest_checkpoints(row for row in rows if row.trial_id in unfinished)
    stale = [row for row in rows if row.id not in kept]
    artifacts.remove(s, [row.id for row in stale])
    return sorted({row.key for row in stale} - {row.key for row in rows if row.id in kept})


def smaller(ranked: Sequence[Trial], size: Callable[[int], int] = int) -> list[Trial]:
    """Of trials from the best to the worst the first, and each whose model is smaller than those of all before it.

    `size`: what a number of weights counts as. Trials whose weights are not known are left out.
    """
    found: list[Trial] = []
    smallest = math.inf
    for trial in ranked:
        if trial.weights is not None and size(trial.weights) < smallest:
            smallest = size(trial.weights)
            found.append(trial)
    return found


def _power_of_two(weights: int) -> int:
    """The next one above: 11 for 1,024 to 2,047 weights. Smaller models of other powers are few, and together have
    fewer than twice the weights of the first.
    """
    return weights.bit_length()
