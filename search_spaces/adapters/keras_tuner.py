"""Between our spaces and KerasTuner's `HyperParameters`, conditional scopes included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from search_spaces.domains import Choice, Domain, Fixed, Value
from search_spaces.mistakes import InvalidSpace, Mistake, brief, told
from search_spaces.ranges import Float, Int, Lambda
from search_spaces.space import Space

_Parents = dict[str, tuple[Value, ...]]
LAMBDA_POINTS = 13  # values of a Lambda in KerasTuner: zero, and about two for each order of magnitude


def from_keras_tuner(hp: Any) -> Space:
    """The space that a `build(hp)` function declared on `hp`, a `keras_tuner.HyperParameters`.

    Int, Float, Choice, Boolean and Fixed with their `step` and `sampling`, and conditional scopes. A scope that no
    value of its parent opens is left out. A name that was declared in several scopes of one parent with the same
    range is one parameter, active in all of them.

    Raises:
        InvalidSpace: with a sentence for each parameter that cannot be expressed: `sampling="reverse_log"`, or one
            name with several ranges.
    """
    found: list[Mistake] = []
    domains: dict[str, Domain] = {}
    conditions: dict[str, _Parents] = {}
    for parameter in hp.space:
        try:
            _add(parameter, domains, conditions)
        except InvalidSpace as error:
            found += error.under(parameter.name)
    if found:
        raise InvalidSpace(found)
    if not domains:
        raise InvalidSpace(
            [Mistake("", "is empty: build(hp) declared no hyperparameter, such as hp.Int('units', 16, 256).")]
        )
    return Space(domains, {name: parents for name, parents in conditions.items() if parents})


def to_keras_tuner(space: Space) -> Any:
    """A `keras_tuner.HyperParameters` that declares the same parameters, parents before children.

    KerasTuner has no counterpart of `Lambda`: it becomes a choice of 0.0 and values from its range. `hp.values`
    has KerasTuner's defaults, mostly the lowest, until they are set.

    Raises:
        InvalidSpace: for what KerasTuner cannot hold: None, or options of different types.
    """
    import keras_tuner

    parameters = []
    found: list[Mistake] = []
    for name in space.order:
        try:
            parameters.append(_config(name, space.parameters[name], space.conditions.get(name, {})))
        except InvalidSpace as error:
            found += error.under(name)
    if found:
        raise InvalidSpace(found)
    hp = keras_tuner.HyperParameters.from_config({"space": parameters, "values": {}})
    hp.ensure_active_values()
    return hp


def _add(parameter: Any, domains: dict[str, Domain], conditions: dict[str, _Parents]) -> None:
    name = parameter.name
    parents = _parents(parameter.conditions, domains)
    if parents is None:
        return
    domain = _domain(parameter)
    if name in domains:
        if domains[name] != domain:
            text = f"is declared with two ranges, {domains[name]!r} and {domain!r}; give each its own name."
            raise InvalidSpace([Mistake("", text)])
        parents = _either(conditions[name], parents)
    domains[name], conditions[name] = domain, parents


def _parents(given: Iterable[Any], domains: dict[str, Domain]) -> _Parents | None:
    """The values that open these nested scopes; None where no value does."""
    parents: _Parents = {}
    for condition in given:
        domain = domains.get(condition.name)
        if domain is None:
            return None
        values = tuple(domain.snap(value) for value in condition.values if domain.problem(value) is None)
        before = parents.get(condition.name, values)
        parents[condition.name] = tuple(value for value in values if value in before)
    return parents if all(parents.values()) else None


def _either(left: _Parents, right: _Parents) -> _Parents:
    """The conditions under which one of two scopes is open."""
    if not left or not right:
        return {}
    different = [name for name in left if left[name] != right.get(name)]
    if left.keys() == right.keys() and len(different) <= 1:
        return {name: tuple(dict.fromkeys([*left[name], *right[name]])) for name in left}
    raise InvalidSpace([Mistake("", "is declared in scopes of different parents; give it a name of its own in each.")])


def _domain(parameter: Any) -> Domain:
    kind = type(parameter).__name__
    if kind == "Fixed":
        return Fixed(parameter.value)
    if kind == "Boolean":
        return Choice([False, True])
    if kind == "Choice":
        options = [value for place, value in enumerate(parameter.values) if value not in parameter.values[:place]]
        return Choice(options) if len(options) > 1 else Fixed(options[0])
    if kind in ("Int", "Float"):
        return _range(parameter, kind)
    raise InvalidSpace([Mistake("", f"is {told(parameter)}; expected Int, Float, Choice, Boolean or Fixed.")])


def _range(parameter: Any, kind: str) -> Domain:
    low, high, step = parameter.min_value, parameter.max_value, parameter.step
    if parameter.sampling == "reverse_log":
        text = "has sampling='reverse_log', which has no counterpart here: use 'log' on high minus the value."
        raise InvalidSpace([Mistake("", text)])
    log = parameter.sampling == "log"
    if low == high or (step is not None and (low * step > high if log else low + step > high)):
        return Fixed(low)
    return Int(low, high, log=log, step=step or 1) if kind == "Int" else Float(low, high, log=log, step=step)


def _config(name: str, domain: Domain, parents: _Parents) -> dict[str, Any]:
    """KerasTuner's own form of one parameter.

    A form, because `hp.conditional_scope` opens only where its parent was declared in the very scopes that are open
    around it: a parameter with two independent parents cannot be declared that way.
    """
    scopes = [
        {"class_name": "Parent", "config": {"name": parent, "values": list(values)}}
        for parent, values in parents.items()
    ]
    kind, config = _kind_and_config(domain)
    return {"class_name": kind, "config": {"name": name, "conditions": scopes, **config}}


def _kind_and_config(domain: Domain) -> tuple[str, dict[str, Any]]:
    match domain:
        case Fixed():
            return "Fixed", {"value": _one_type([domain.value])[0]}
        case Choice() if set(map(type, domain.options)) == {bool}:
            return "Boolean", {}  # its Choice would turn the options into 0 and 1
        case Choice():
            return "Choice", {"values": _one_type(domain.options)}
        case Lambda():
            return "Choice", {"values": domain.grid(LAMBDA_POINTS)}
        case Int() | Float():
            step = None if domain.log and domain.step == 1 else domain.step
            sampling = "log" if domain.log else "linear"
            config = {"min_value": domain.low, "max_value": domain.high, "step": step, "sampling": sampling}
            return type(domain).__name__, config
    raise InvalidSpace([Mistake("", f"has {domain!r}, which KerasTuner cannot express.")])


def _one_type(options: Iterable[Value]) -> list[Value]:
    """The options with one type, as KerasTuner asks for; whole numbers among others become floats."""
    values = list(options)
    types = {type(value) for value in values}
    if types == {int, float}:
        return [float(value) for value in values if isinstance(value, (int, float))]
    if len(types) > 1 or types == {type(None)}:
        raise InvalidSpace([Mistake("", f"has {brief(values)}; KerasTuner holds one type of text, number or bool.")])
    return values
