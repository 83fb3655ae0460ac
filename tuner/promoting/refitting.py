"""Whether a promotion may train the chosen trial again on all rows but the test part, and for how long."""

from __future__ import annotations

import statistics

from db import configurations
from db.engine import Database
from db.tables import Study, Trial
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.reporting.final_score import without_test_part


def require_possible(study: Study, definition: StudyDefinition) -> None:
    """What was trained on the validation rows too is good for nothing that could be told without a test part.

    Raises InvalidInput where there is none, and of a loop.
    """
    if definition.loop is not None:
        raise InvalidInput(
            f"The loop of study {study.name!r} trains by itself, so nobody else can train its model again."
        )
    if problem := without_test_part(definition, study.checked):
        raise InvalidInput(
            f"Nothing would say how good a model of {study.name!r} is once it has seen all rows: {problem}"
        )


def epochs(database: Database, definition: StudyDefinition, trial: Trial) -> int:
    """As many as were the trial's best; of several folds the median, for the fold that is promoted was a lucky one."""
    if definition.folds == 1:
        return trial.best_epoch or 1
    with database.read() as s:
        same = configurations.repeats_of(s, trial, definition.repeats)
    return statistics.median_low([item.best_epoch for item in same if item.state == "complete" and item.best_epoch])
