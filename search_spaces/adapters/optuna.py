"""Between our spaces and Optuna's distributions.

A `Lambda` is a number from 0 to 1 for Optuna (its place in the unit interval), and a range whose steps multiply is
the index of its value: Optuna knows neither. Everything else goes over as it is. Conditions have no counterpart among
the distributions: whoever samples asks for the active parameters only, in the space's `order`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.domains import Choice, Domain, Fixed, Value
from search_spaces.mistakes import InvalidSpace, Mistake, told
from search_spaces.ranges import Float, Int, Lambda
from search_spaces.scales import Multiplied
from search_spaces.space import Space


def to_optuna(space: Space) -> dict[str, Any]:
    """name -> `optuna.distributions.BaseDistribution`, parents first (`space.order`).

    A fixed parameter becomes a categorical with one choice, which Optuna's samplers pass over.
    """
    return {name: _distribution(space.parameters[name]) for name in space.order}


def values_to_optuna(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """A point of the space as the values that Optuna's distributions of `to_optuna` take."""
    return {name: _to_value(space.parameters[name], value) for name, value in params.items()}


def values_from_optuna(space: Space, values: Mapping[str, Any]) -> dict[str, Value]:
    """The point that Optuna proposed, as it is stored: snapped, with fixed values, without inactive parameters.

    `values_to_optuna` of the result gives values of the same distributions, and coming back gives the same point.
    """
    return space.complete({name: _from_value(space.parameters[name], value) for name, value in values.items()})


def from_optuna(distributions: Mapping[str, Any]) -> Space:
    """The space of Optuna's distributions. A distribution with a single value becomes `Fixed`.

    Raises:
        InvalidSpace: for a distribution that is none of Optuna's float, int and categorical ones, and for choices that
            are not None, bool, int, float or str.
    """
    parameters: dict[str, Domain] = {}
    found: list[Mistake] = []
    for name, distribution in distributions.items():
        try:
            parameters[name] = _domain(distribution)
        except InvalidSpace as error:
            found += error.under(name)
    if found:
        raise InvalidSpace(found)
    return Space(parameters)


def _distribution(domain: Domain) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain:
        case Choice() | Fixed():
            return CategoricalDistribution(domain.extremes)
        case Lambda():
            return FloatDistribution(0.0, 1.0)
        case Float() | Int() if isinstance(domain.scale, Multiplied):
            return IntDistribution(0, domain.scale.count - 1)
        case Float():
            return FloatDistribution(domain.low, domain.scale.last, log=domain.log, step=domain.step)
        case Int():
            return IntDistribution(domain.low, int(domain.scale.last), log=domain.log, step=domain.step)
    raise InvalidSpace([Mistake("", f"has {domain!r}, which Optuna cannot express.")])


def _to_value(domain: Domain, value: Any) -> Any:
    domain.validate(value)
    if isinstance(domain, Lambda):
        return domain.to_unit(value)
    if isinstance(domain, (Float, Int)) and isinstance(domain.scale, Multiplied):
        return domain.scale.index_of(value)
    return domain.snap(value)


def _from_value(domain: Domain, value: Any) -> Value:
    if isinstance(domain, Lambda):
        return domain.from_unit(value)
    if isinstance(domain, (Float, Int)) and isinstance(domain.scale, Multiplied):
        return domain.scale.value_at(int(value))
    return domain.snap(value)


def _domain(distribution: Any) -> Domain:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match distribution:
        case CategoricalDistribution():
            options = distribution.choices
            return Choice(options) if len(options) > 1 else Fixed(options[0])
        case FloatDistribution() | IntDistribution() if distribution.single():
            return Fixed(distribution.low)
        case FloatDistribution():
            return Float(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case IntDistribution():
            return Int(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
    expected = "expected a FloatDistribution, an IntDistribution or a CategoricalDistribution"
    raise InvalidSpace([Mistake("", f"is {told(distribution)}; {expected}.")])
