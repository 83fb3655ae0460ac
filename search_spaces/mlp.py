"""The ready-made space of the `mlp` family: how deep, how wide, and above all how much regularization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search_spaces.domains import Choice, Domain, Fixed
from search_spaces.families import ACTIVATIONS, FAMILIES, OPTIMIZERS, family_mistakes, unknown_parameter
from search_spaces.forms import domain_from_json
from search_spaces.mistakes import InvalidSpace, Mistake, check, is_number, listed, told
from search_spaces.ranges import Float, Int, Lambda
from search_spaces.space import Space

Scalar = int | float | str
Given = Domain | Mapping[str, Any] | Sequence[Scalar] | Scalar
"""A domain, its JSON form, (low, high) of a range or a list of options, or one value that fixes the parameter."""

_RANGES: dict[str, tuple[Callable[[Any, Any], Domain], Any]] = {
    "depth": (Int, (1, 4)),
    "width": (lambda low, high: Int(low, high, log=True), (16, 256)),
    "learning_rate": (lambda low, high: Float(low, high, log=True), (1e-4, 1e-1)),
    "l1": (Lambda, (1e-7, 1e-2)),
    "l2": (Lambda, (1e-7, 1e-1)),
    "dropout": (Float, (0.0, 0.5)),
}
_OPTIONS: dict[str, Sequence[Scalar]] = {
    "activation": ACTIVATIONS,
    "optimizer": OPTIMIZERS,
    "batch_size": (32, 64, 128),
}


def mlp(
    depth: Given = (1, 4),
    width: Given = (16, 256),
    activation: Given = ACTIVATIONS,
    optimizer: Given = OPTIMIZERS,
    learning_rate: Given = (1e-4, 1e-1),
    l1: Given = (1e-7, 1e-2),
    l2: Given = (1e-7, 1e-1),
    dropout: Given = (0.0, 0.5),
    batch_size: Given = (32, 64, 128),
) -> Space:
    """A space for a stack of dense layers.

    Two numbers are a range, a list of names or batch sizes gives the options, a single value fixes the parameter, and
    a domain such as `Int(16, 256, step=16)` is taken as it is.

    Args:
        depth: number of hidden layers. Default (1, 4).
        width: units of each hidden layer, log-uniform. Default (16, 256).
        activation: of the hidden layers. Default: sigmoid, tanh, relu, leaky_relu, prelu, elu, gelu, softplus.
        optimizer: default sgd, momentum, adagrad, adadelta, rmsprop, adam, ftrl, adamw.
        learning_rate: log-uniform. Default (1e-4, 1e-1).
        l1: strength of the L1 penalty on kernels: 0.0, or log-uniform in the range. Default (1e-7, 1e-2).
        l2: the same for L2. Default (1e-7, 1e-1).
        dropout: fraction of the units dropped after each hidden layer, below 1. Default (0.0, 0.5).
        batch_size: rows per step. Default 32, 64 or 128.

    Raises:
        InvalidSpace: with every mistake.
    """
    given = locals()
    return mlp_from({name: given[name] for name in FAMILIES["mlp"]})


def mlp_from(arguments: Mapping[str, Any]) -> Space:
    """The same from a mapping, as it stands in a study's file: `{depth: [1, 4], l2: 0}`. Absent ones have defaults.

    Raises:
        InvalidSpace: with every mistake.
    """
    unknown = [str(key) for key in arguments if key not in FAMILIES["mlp"]]
    found = [Mistake(name, unknown_parameter("mlp", name)) for name in unknown]
    parameters: dict[str, Domain | None] = {}
    conditions: dict[str, Any] = {}
    for name in FAMILIES["mlp"]:
        parameters[name] = None
        try:
            parameters[name] = _domain(name, arguments.get(name, _default(name)))
        except InvalidSpace as error:
            found += error.under(name)
        form = arguments.get(name)
        conditions.update({name: form["when"]} if isinstance(form, Mapping) and "when" in form else {})
    found += family_mistakes("mlp", parameters, conditions)
    check(found)
    return Space({name: domain for name, domain in parameters.items() if domain}, family="mlp")


def _default(name: str) -> Any:
    return _RANGES[name][1] if name in _RANGES else _OPTIONS[name]


def _domain(name: str, given: Any) -> Domain:
    if isinstance(given, Domain):
        return given
    if isinstance(given, Mapping):
        return domain_from_json(given)
    if given is None:
        raise InvalidSpace([Mistake("", f"is {told(given)}; leave it out for the default {_shown(_default(name))}.")])
    if isinstance(given, str) or not isinstance(given, Sequence):
        return _fixed(name, given)
    return _range(name, given) if name in _RANGES else _choice(name, given)


def _fixed(name: str, given: Any) -> Domain:
    problem = FAMILIES["mlp"][name].problem(given)
    if problem:
        raise InvalidSpace([Mistake("", f"is {told(given)}; {problem}")])
    fixed = Fixed(given)
    return Fixed(float(given)) if name in ("learning_rate", "l1", "l2", "dropout") else fixed


def _range(name: str, given: Sequence[Any]) -> Domain:
    make = _RANGES[name][0]
    if len(given) != 2:
        choice = f"{{type: choice, options: {_shown(given)}}}"
        hint = f" For a choice write {choice}." if len(given) > 2 else f" The default is {_shown(_default(name))}."
        raise InvalidSpace([Mistake("", f"is {told(given)}; expected [low, high] or one value.{hint}")])
    low, high = given
    if make is Lambda and low == 0 and is_number(low):
        text = f"is 0; expected the smallest positive strength, such as 1.0e-7. {name} can always be exactly 0 as well."
        raise InvalidSpace([Mistake("low", text)])
    return make(low, high)


def _choice(name: str, given: Sequence[Any]) -> Domain:
    rule = FAMILIES["mlp"][name]
    problems = [(place, value, rule.problem(value)) for place, value in enumerate(given)]
    check([Mistake(f"[{place}]", f"is {told(value)}; {problem}") for place, value, problem in problems if problem])
    return Choice(given)


def _shown(values: Sequence[Any]) -> str:
    return f"[{listed(values)}]"
