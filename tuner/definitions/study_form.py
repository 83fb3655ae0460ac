"""Reading a study as a person wrote it: field by field, then what only shows between two fields."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import search_spaces
from search_spaces import InvalidSpace, Space
from search_spaces.mistakes import is_finite, told
from tuner.definitions.agreement import agree
from tuner.definitions.data_form import read_data
from tuner.definitions.defaults import direction_of, grace_of, pruner_of, usual_failures
from tuner.definitions.fields import Fields, is_number, shown
from tuner.errors import InvalidInput, InvalidStudy
from tuner.names import name_problem

SAMPLERS = ("gp", "tpe", "random", "grid", "qmc", "cmaes")
PRUNERS = ("asha", "hyperband", "median", "percentile", "none")
DIRECTIONS = ("minimize", "maximize")

_SYNONYMS = {
    **dict.fromkeys(("max_trials", "n_trials", "num_trials", "num_samples"), "trials"),
    **dict.fromkeys(("max_epochs", "n_epochs", "num_epochs", "max_t"), "epochs"),
    **dict.fromkeys(("metric", "monitor", "goal"), "objective"),
    **dict.fromkeys(("mode",), "direction"),
    **dict.fromkeys(("timeout", "time_limit", "max_time", "time_budget_s"), "max_seconds"),
    **dict.fromkeys(("scheduler", "stopping", "pruning"), "pruner"),
    **dict.fromkeys(("search_algorithm", "algorithm", "search_alg", "oracle"), "sampler"),
    **dict.fromkeys(("search_space", "parameters", "hyperparameters", "family"), "space"),
    **dict.fromkeys(("hypermodel", "build", "builder", "model_builder"), "model"),
    **dict.fromkeys(("dataset", "datasets"), "data"),
    **dict.fromkeys(("class_weight", "class_weights", "sample_weight", "sample_weights"), "data.weight"),
    **dict.fromkeys(("reduction_factor",), "eta"),
    **dict.fromkeys(("grace_period", "min_epochs", "warmup", "warm_up"), "grace"),
    **dict.fromkeys(("early_stopping",), "patience"),
    **dict.fromkeys(("executions_per_trial", "n_repeats", "num_repeats", "seeds", "replicates"), "repeats"),
    **dict.fromkeys(("folds", "cv", "cross_validation", "n_splits", "n_folds", "k_folds"), "data.folds"),
    **dict.fromkeys(("n_jobs", "max_concurrent", "max_concurrent_trials", "concurrency", "parallel"), "workers"),
    **dict.fromkeys(("cpus", "cpu", "num_cpus"), "cpus_per_trial"),
    **dict.fromkeys(("gpus", "gpu", "num_gpus"), "gpus_per_trial"),
    **dict.fromkeys(("random_state",), "seed"),
    **dict.fromkeys(("study", "study_name", "project_name"), "name"),
}
_SAMPLER_SYNONYMS = {
    "bayesian": "gp",
    "gaussian_process": "gp",
    "random_search": "random",
    "grid_search": "grid",
    "sobol": "qmc",
    "cma-es": "cmaes",
    "cma_es": "cmaes",
}
_DIRECTION_SYNONYMS = {"min": "minimize", "minimise": "minimize", "max": "maximize", "maximise": "maximize"}
_PRUNER_SYNONYMS = {"successive_halving": "asha", "sha": "asha", "no": "none", "off": "none", "null": "none"}


def read_study(form: Mapping[str, Any], base: Path, known: Collection[str]) -> dict[str, Any]:
    """The value of every field of a study, defaults included. `known`: the names that a study's fields have.

    Raises:
        InvalidStudy: with every mistake, one sentence each.
    """
    if not isinstance(form, Mapping):
        raise InvalidStudy([f"The study is {told(form)}; expected a mapping of fields such as `name` and `data`."])
    given = Fields(form, [])
    given.only(known, _SYNONYMS)
    subject = _subject(given)
    data = read_data(given, base)
    values = {
        "name": _name(given),
        "data": data,
        **subject,
        "enqueue": _enqueue(given, subject["space"]),
        **_objective(given),
        **_search(given),
        **_budget(given, (data or {}).get("folds") or 1),
        **_running(given),
    }
    agree(given, values)
    if given.problems:
        raise InvalidStudy(given.problems)
    return values


def _name(given: Fields) -> str:
    name = given.raw("name")
    if "name" not in given:
        given.problems.append("`name` is missing: give the study a name, for example 'digits'.")
    elif problem := name_problem("study", name):
        given.problems.append(f"`name`: {problem}")
    return name if isinstance(name, str) else ""


def _subject(given: Fields) -> dict[str, Any]:
    """What is trained: a family, a user's model, or a user's loop; and over which space."""
    space = _space(given)
    family = None if space is None else space.family
    model = family if given.raw("model") == "mlp" else given.entry_point("model", "module:attribute")
    loop = given.entry_point("loop", "module:function")
    named = [key for key in ("model", "loop") if given.raw(key) is not None and given.raw(key) != "mlp"]
    if given.raw("model") == "mlp" and family is None and given.raw("space") is None:
        given.problems.append("`model` is 'mlp', and `space` is missing; write `space: {family: mlp}`.")
    if family is not None and named:
        given.problems.append(f"`space.family` and `{named[0]}` are both given: keep the one that says what to train.")
    elif len(named) == 2:
        given.problems.append("`model` and `loop` are both given: keep the one that says what to train.")
    elif family is None and not named and given.raw("model") is None and not _family_was_given(given):
        given.problems.append(
            "Nothing says what to train: give `space: {family: mlp}`, `model: 'module:build'` or `loop: 'module:f'`."
        )
    elif loop is not None and given.raw("data") is not None:
        given.problems.append("`loop` and `data` are both given, and a loop brings its own data: remove `data`.")
    if loop is not None and given.raw("space") is None:
        given.problems.append("`space` is missing: the parameters of a `loop` cannot be read from its code.")
    if loop is None and given.raw("data") is None:
        given.problems.append(
            "`data` is missing: give {path: train.csv, target: COLUMN}, 'module:function' or, in Python, (x, y)."
        )
    return {"space": space, "model": model or family, "loop": loop}


def _family_was_given(given: Fields) -> bool:
    """Whether a space was given that has mistakes of its own and would have named a family."""
    space = given.raw("space")
    if space is None or isinstance(space, Space):
        return False
    return not isinstance(space, Mapping) or bool(space.get("family"))


def _space(given: Fields) -> Space | None:
    space = given.raw("space")
    if space is None or isinstance(space, Space):
        return space
    if not isinstance(space, Mapping):
        given.wrong("space", "expected a mapping such as {family: mlp} or {units: {type: int, low: 16, high: 256}}.")
        return None
    try:
        return search_spaces.parse(space)
    except InvalidSpace as error:
        given.problems.extend(error.problems)
        return None


def _enqueue(given: Fields, space: Space | None) -> tuple[dict[str, Any], ...]:
    """Points of the space, each with its active parameters."""
    points = given.raw("enqueue")
    if points is None:
        return ()
    if not isinstance(points, (list, tuple)) or not all(isinstance(point, Mapping) for point in points):
        given.wrong("enqueue", "expected a list of points; each names every parameter that is active in it.")
        return ()
    plain = tuple({str(name): _plain(value) for name, value in point.items()} for point in points)
    for place, point in enumerate(plain):
        path = f"enqueue[{place}]"
        strange = [name for name, value in point.items() if not _is_value(value)]
        given.problems.extend(
            f"`{path}.{shown(name)}` is {told(point[name])}; expected a text, a finite number, true, false or null."
            for name in strange
        )
        try:
            if space is not None and not strange:
                space.validate(point)
        except InvalidSpace as error:
            given.problems.extend(map(str, error.under(path)))
    return plain


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's own; anything else as it is."""
    return value.item() if is_number(value) and hasattr(value, "item") else value


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, (bool, str)) or (is_number(value) and is_finite(value))


def _objective(given: Fields) -> dict[str, Any]:
    objective = given.text("objective", "val_data_loss", "the name of a metric such as val_accuracy")
    direction: str = direction_of(objective)
    if given.raw("direction") is not None:
        direction = given.one_of("direction", direction, DIRECTIONS, _DIRECTION_SYNONYMS)
    return {"objective": objective, "direction": direction}


def _search(given: Fields) -> dict[str, Any]:
    epochs = given.whole("epochs", 30, 1, 1_000_000)
    pruner = pruner_of(epochs)
    if given.raw("pruner") is not None:
        pruner = given.one_of("pruner", pruner, PRUNERS, _PRUNER_SYNONYMS)
    elif "pruner" in given:
        pruner = "none"
    return {
        "epochs": epochs,
        "patience": given.whole_or_none("patience", 5, 1, 1_000_000),
        "sampler": given.one_of("sampler", "gp", SAMPLERS, _SAMPLER_SYNONYMS),
        "pruner": pruner,
        "grace": given.whole("grace", grace_of(epochs), 1, 1_000_000),
        "eta": given.whole("eta", 4, 2, 100),
        "audit": given.number("audit", 0.0, 0.0, 1.0),
        "seed": given.whole("seed", 0, 0, 2**32 - 1),
    }


LIMITS = ("trials", "total_epochs", "max_seconds", "target", "no_improvement", "max_failures")
"""When a study has had enough."""

EDITABLE = ("weight", "priority", "workers", *LIMITS)
"""What may be changed: a study's share of the workers, and its limits."""


def read_edit(form: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The values of the fields that may be changed. `known`: the names of all fields of a study.

    Raises:
        InvalidInput: with every mistake, one sentence each.
    """
    given = Fields(form, [])
    fixed = [key for key in form if key in known and key not in EDITABLE]
    for key in fixed:
        given.problems.append(f"`{key}` says what the study is and cannot be changed; what can: {', '.join(EDITABLE)}.")
    given.only((*EDITABLE, *fixed), _SYNONYMS)
    values = {**_budget(given), **_share(given)}
    if given.problems:
        raise InvalidInput("\n".join(given.problems))
    return {field: values[field] for field in EDITABLE}


def _share(given: Fields) -> dict[str, Any]:
    return {
        "weight": given.number("weight", 1.0, 0.0, 1e6, above=True),
        "priority": given.whole("priority", 0, -1000, 1000),
        "workers": given.whole_or_none("workers", None, 1, 10_000),
    }


def _budget(given: Fields, folds: int = 1) -> dict[str, Any]:
    trials = given.whole("trials", 50, 1, 1_000_000)
    return {
        "trials": trials,
        "repeats": given.whole("repeats", folds, 1, 1000),
        "total_epochs": given.whole_or_none("total_epochs", None, 1, 10**12),
        "max_seconds": given.number_or_none("max_seconds", 0.0, 1e9, above=True),
        "target": given.number_or_none("target", -math.inf, math.inf),
        "no_improvement": given.whole_or_none("no_improvement", None, 1, 1_000_000),
        "max_failures": given.whole_or_none("max_failures", None, 1, 1_000_000) or usual_failures(trials),
    }


def _running(given: Fields) -> dict[str, Any]:
    return {
        **_share(given),
        "cohort": given.whole_or_none("cohort", None, 1, 1024),
        "cpus_per_trial": given.number("cpus_per_trial", 1.0, 0.0, 4096.0, above=True),
        "gpus_per_trial": given.number("gpus_per_trial", 0.0, 0.0, 1024.0),
        "keep": given.whole("keep", 5, 1, 1_000_000),
        "checkpoint_seconds": given.number("checkpoint_seconds", 10.0, 0.0, 86_400.0),
    }
