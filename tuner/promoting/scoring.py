"""Reading the test part for a study's winner: without a promotion, once, and counted."""

from __future__ import annotations

from typing import Any

from db import events, states, studies
from db.engine import Database
from tuner.configuration import Settings
from tuner.errors import InvalidInput
from tuner.payload.user_code import with_code
from tuner.promoting.model_processes import score_model
from tuner.promoting.promotion import Choice, choose
from tuner.reporting.final_score import READ, FinalScore, final_score, found, over_folds, ranked, without_test_part


def score(database: Database, settings: Settings, study: str) -> FinalScore:
    """What the best trial of a study that is over scores on the test part. Asked again, it tells what was read.

    Raises:
        UnknownName: no such study.
        NothingToPromote: no completed trial with a finite objective, or its model was not kept.
        InvalidInput: the study is not over, or there is no test part with its objective.
        PromotionFailed: the model could not be scored.
    """
    choice = choose(database, study, None)
    if choice.study.state not in states.terminal(states.STUDY):
        raise InvalidInput(
            f"Study {study!r} is {choice.study.state}: the test part is read for its winner, once it is over."
        )
    with database.read() as s:
        among = ranked(studies.counts(s, choice.study.id), choice.definition.repeats)
        known = found(s, choice.definition, choice.trial, among)
        folds = over_folds(s, choice.definition, choice.trial)
    if known is not None:
        return known
    scores = _read(database, settings, choice)
    result = final_score(choice.definition, choice.trial, among, scores, folds)
    if result is None:
        raise InvalidInput(f"Study {study!r}: the test part gives no finite {choice.definition.objective!r}.")
    return result


def _read(database: Database, settings: Settings, choice: Choice) -> dict[str, Any]:
    if problem := without_test_part(choice.definition, choice.study.checked):
        raise InvalidInput(f"Study {choice.study.name!r} has nothing to score its winner on: {problem}")
    own = with_code(database, settings, choice.study)
    scores: dict[str, Any] = score_model(choice.definition, choice.trial, choice.artifact, own)["scores"]
    with database.write() as s:
        events.add(s, READ, study_id=choice.study.id, trial_id=choice.trial.id, **scores)
    return scores
