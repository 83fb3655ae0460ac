"""Reading spaces that were written for Ray Tune.

Ray itself is not imported: what its domains are is read from their attributes, so a study that is described with
`ray.tune` needs no Ray in the process that reads it beyond what made the objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import ceil, floor, isclose
from typing import Any

from search_spaces.domains import Choice, Domain, Fixed
from search_spaces.mistakes import InvalidSpace, Mistake, brief, told
from search_spaces.ranges import Float, Int
from search_spaces.space import Space

_DOMAINS = "ray.tune.search.sample"


def from_ray_tune(param_space: Mapping[str, Any]) -> Space:
    """The space of a `ray.tune` `param_space`.

    `uniform`, `loguniform`, `quniform`, `randint`, `lograndint`, `qrandint`, `choice` and `grid_search` become
    domains, constants become `Fixed`, and nested dictionaries get names such as `model/units`, as in Tune's results.
    Like Tune, `randint` and `lograndint` leave out their upper end.

    Raises:
        InvalidSpace: with a sentence for each parameter that cannot be expressed, such as `sample_from` and `randn`.
    """
    if not isinstance(param_space, Mapping):
        raise InvalidSpace(
            [Mistake("", f"is {told(param_space)}; expected a dictionary as in tune.Tuner(param_space=).")]
        )
    parameters: dict[str, Domain] = {}
    found: list[Mistake] = []
    for name, given in _flat(param_space, ""):
        try:
            if name in parameters:
                raise InvalidSpace([Mistake("", "is given twice: nested, and by this name.")])
            parameters[name] = _domain(given)
        except InvalidSpace as error:
            found += error.under(name)
    if found:
        raise InvalidSpace(found)
    return Space(parameters)


def _flat(param_space: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in param_space.items():
        nested = isinstance(value, Mapping) and set(value) != {"grid_search"}
        pairs += _flat(value, f"{prefix}{key}/") if nested else [(f"{prefix}{key}", value)]
    return pairs


def _domain(given: Any) -> Domain:
    if isinstance(given, Mapping):
        return _options(given["grid_search"])
    if type(given).__module__ != _DOMAINS:
        return _constant(given)
    kind = type(given).__name__
    if kind == "Categorical":
        return _options(given.categories)
    if kind not in ("Float", "Integer"):
        raise _refused("tune.sample_from", "a function has no bounds. Use a domain, or a condition of the space")
    sampler, q = given.get_sampler(), None
    if type(sampler).__name__ == "Quantized":
        sampler, q = sampler.get_sampler(), sampler.q
    law = type(sampler).__name__.lstrip("_")
    if law not in ("Uniform", "LogUniform"):
        raise _refused("tune.randn", "a normal distribution has no bounds. Use tune.uniform")
    if law == "LogUniform" and q is not None:
        raise _refused("tune.qloguniform or tune.qlograndint", "steps of equal size do not go with log. Leave q out")
    return _range(given, law == "LogUniform", q)


def _range(given: Any, log: bool, q: Any) -> Domain:
    whole = type(given).__name__ == "Integer"
    low, high = given.lower, given.upper
    if q is not None and not q > 0:
        raise InvalidSpace([Mistake("q", f"is {told(q)}; expected a positive number.")])
    if q is not None and not (whole and q == 1):
        first, last = _inwards(low, q, ceil), _inwards(high, q, floor)
        low, high = (_times(first, q), _times(last, q)) if first <= last else (low, high)
    elif whole:
        high -= 1  # Tune leaves out the upper end
    if low == high:
        return Fixed(low)
    return Int(low, high, log=log, step=q or 1) if whole else Float(low, high, log=log, step=q)


def _inwards(bound: Any, q: Any, rounded: Any) -> int:
    """The number of steps from 0 to `bound`, inside the range where it lies between two, as Tune counts."""
    nearest = round(bound / q)
    return nearest if isclose(bound / q, nearest) else int(rounded(bound / q))


def _times(index: int, q: Any) -> Any:
    return index * q if isinstance(q, int) else float(index * Decimal(repr(float(q))))


def _options(given: Any) -> Domain:
    options = list(given)
    return Fixed(options[0]) if len(options) == 1 else Choice(options)


def _constant(given: Any) -> Domain:
    try:
        return Fixed(given)
    except InvalidSpace:
        text = (
            f"is {brief(given)}; expected a domain such as tune.uniform, or a constant: a number, a text, true, false"
        )
        raise InvalidSpace([Mistake("", f"{text} or None.")]) from None


def _refused(what: str, why: str) -> InvalidSpace:
    return InvalidSpace([Mistake("", f"is {what}, which has no counterpart here: {why}.")])
