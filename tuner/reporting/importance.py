"""How much of the difference between good and other trials each parameter explains, and which ranges are too narrow."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from db.engine import Database
from search_spaces import Choice, Domain, Int, Lambda, Space
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.reporting.ranking import Ranked, completed, ranked_of
from tuner.reporting.results import study_row, trial_results

FEWEST = 40  # trials or configurations, complete or pruned, before anything is said
MOST = 10_000  # of them that importance is computed from: Optuna copies each several times, which takes 0.15 ms
_BEST = 0.1  # share of the trials that are the good ones
_EDGE, _MOST = 0.1, 0.8  # of a range, what is its edge; share of the good trials there that is too many


def importances(database: Database, name: str) -> dict[str, float]:
    """`importance` of what a study has found so far.

    Raises:
        UnknownName: for the study.
        InvalidInput: while fewer than `FEWEST` of its trials (with repeats, configurations) are complete or pruned, or
            none is complete.
    """
    definition = StudyDefinition.from_json(study_row(database, name).definition)
    ranked = ranked_of(trial_results(database, name), definition.repeats, definition.folds)
    complete, pruned = completed(ranked, definition.direction), _pruned(ranked)
    if not complete or len(complete) + len(pruned) < FEWEST:
        word = "trial" if definition.repeats == 1 else "configuration"
        raise InvalidInput(
            f"Study {name!r} has {len(complete)} complete and {len(pruned)} pruned {word}s. How much each parameter "
            f"explains is told from {FEWEST} on, of which one is complete. Watch it: tuner study show {name}"
        )
    assert definition.space is not None  # what was not given, the dry run has read from the model
    return importance(definition.space, ranked, definition.direction)


def importance(space: Space, ranked: Sequence[Ranked], direction: str) -> dict[str, float]:
    """The parameters that every point has, the most important first; the shares add up to 1.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", section 3) as Optuna computes it: by how much the good trials' values of a parameter are
    distributed otherwise than all trials' are. A pruned trial counts like the worst complete one: leaving it out would
    hide what made it bad. With fewer than `FEWEST` trials the result is empty; of more than `MOST` so many are drawn,
    good ones as likely as others, for it is their shares that are compared.
    """
    complete, pruned = completed(ranked, direction), _pruned(ranked)
    names = [name for name in space.order if name in space.free and name not in space.conditions]
    if not complete or len(complete) + len(pruned) < FEWEST or not names:
        return {}
    import optuna

    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # creating a study is worth a line to Optuna only
    study = optuna.create_study(direction=direction)
    optuna.logging.set_verbosity(loud)
    distributions = {name: _distribution(optuna, space.parameters[name]) for name in names}
    for trial in _drawn([*complete, *pruned]):
        value = trial.value if trial.state == "complete" else complete[-1].value
        places = space.to_unit(trial.params)
        params = {
            name: trial.params[name] if isinstance(space.parameters[name], Choice) else places[name] for name in names
        }
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def too_narrow(space: Space, ranked: Sequence[Ranked], direction: str) -> list[str]:
    """A sentence for each range at whose edge the good trials crowd.

    A range that ends where nothing is beyond it (a zero, one layer, no penalty at all) is no narrower for that.
    """
    complete = completed(ranked, direction)
    judged = len(complete) + len(_pruned(ranked))
    good = complete[: math.ceil(judged * _BEST)] if judged >= FEWEST else []
    return [sentence for name in space.order for sentence in _crowded(name, space.parameters[name], good)]


def _drawn(trials: Sequence[Ranked]) -> Sequence[Ranked]:
    """At most `MOST` of them, in their order. At random: every k-th would always be the same one of a cohort."""
    if len(trials) <= MOST:
        return trials
    return [trials[place] for place in sorted(random.Random(0).sample(range(len(trials)), MOST))]


def _crowded(name: str, domain: Domain, good: Sequence[Ranked]) -> Iterator[str]:
    places = [domain.to_unit(trial.params[name]) for trial in good if name in trial.params]
    if not places or isinstance(domain, Choice) or (domain.count is not None and domain.count < 3):
        return
    word = "trials" if len(good[0].trials) == 1 else "configurations"
    for end, which, at_edge in (
        (0.0, "lowest", [u < _EDGE for u in places]),
        (1.0, "highest", [u > 1 - _EDGE for u in places]),
    ):
        value = domain.from_unit(end)
        if sum(at_edge) >= _MOST * len(places) and (end or not _natural(domain, value)):
            yield (
                f"{sum(at_edge)} of the {len(good)} best {word} have {name} near {value:g}, the {which} of its range: "
                "a wider range may hold better ones."
            )


def _natural(domain: Domain, low: Any) -> bool:
    """Whether nothing can be below the lowest value."""
    return isinstance(domain, Lambda) or low == 0 or (isinstance(domain, Int) and low == 1)


def _distribution(optuna: Any, domain: Domain) -> Any:
    """Of a choice its options, of a number its place in the box that samplers see, which has room for a zero."""
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.options)
    return optuna.distributions.FloatDistribution(0.0, 1.0)


def _pruned(ranked: Sequence[Ranked]) -> list[Ranked]:
    return [item for item in ranked if item.state == "pruned"]
