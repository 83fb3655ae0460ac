"""`python -m workers.exporting.compare`: what finished trials score on the same groups of validation rows.

Reads one JSON object on stdin and prints one JSON line on stdout; all else, user code's prints too, goes to stderr.

    {"training": Training as JSON, "artifact_root": DIR,
     "trials": [{"trial": 17, "params": {...}, "seed": 7, "key": KEY, "sha256": SUM}, ...]}
    {"ok": true, "groups": [{metric: [value per group, ...]}, ...]}               one for each trial, in their order
    {"ok": false, "error": "One sentence."}                                       and exit code 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.exporting.answering import answer
from workers.exporting.finished import models_of


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Score each trial's model on the groups that `workers.exporting.group_scores` makes of the validation rows.

    The test part is not read. Raises what is in the way.
    """
    from workers.exporting.group_scores import GroupScores, Scorer, score_groups
    from workers.trials.penalty import PenaltySplit

    found = list(models_of(request))
    validation = found[0][1].validation  # all trials': those of folds are compared by what they reported
    scorers = [Scorer(model, PenaltySplit(model)) for model, _ in found]
    return {"groups": score_groups(list(map(GroupScores, scorers)), validation)}


if __name__ == "__main__":
    raise SystemExit(answer(compare))
