"""What the ready-made model families ask of their parameters: `dropout` is a fraction, `optimizer` a known name.

The rules are checked wherever a space of the family is made, so that a mistake shows before anything is trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.domains import Domain, Fixed
from search_spaces.mistakes import Mistake, is_number, is_whole, listed, near, number_hint, told

ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "softplus")
OPTIMIZERS = ("sgd", "momentum", "adagrad", "adadelta", "rmsprop", "adam", "ftrl", "adamw")
_OTHER_NAMES = {
    "leakyrelu": "leaky_relu", "leaky-relu": "leaky_relu", "leaky relu": "leaky_relu", "logistic": "sigmoid",
    "nesterov": "momentum", "sgd_momentum": "momentum", "rms_prop": "rmsprop", "adam_w": "adamw",
}  # fmt: skip
_RANGE = re.compile(r"\(?(\d+(?:\.\d+)?) *(?:-|,|to|\.\.\.?) *(\d+(?:\.\d+)?)\)?")


def _range_hint(value: object) -> str:
    """How to write a range that arrived as text, such as 1-4 or (1, 4)."""
    ends = _RANGE.fullmatch(value) if isinstance(value, str) else None
    return f" For a range write [{ends[1]}, {ends[2]}]." if ends else ""


@dataclass(frozen=True)
class Numbers:
    """Rule: numbers from `low` up to `high`."""

    expected: str
    low: float
    high: float = float("inf")
    open_low: bool = False  # low itself is refused
    open_high: bool = False
    whole: bool = False

    def problem(self, value: object) -> str | None:
        number: Any = value
        kind = is_whole(value) if self.whole else is_number(value)
        if kind and self.low <= number <= self.high:
            at_end = (self.open_low and number == self.low) or (self.open_high and number == self.high)
            return f"expected {self.expected}." if at_end else None
        return f"expected {self.expected}.{number_hint(value) or _range_hint(value)}"


@dataclass(frozen=True)
class Names:
    """Rule: one of these names."""

    names: tuple[str, ...]

    def problem(self, value: object) -> str | None:
        if value in self.names:
            return None
        hint = near(value, self.names, _OTHER_NAMES) if isinstance(value, str) else ""
        return f"expected one of {listed(self.names)}.{hint}"


Rule = Numbers | Names
FAMILIES: dict[str, dict[str, Rule]] = {
    "mlp": {
        "depth": Numbers("a number of layers: a whole number from 1 to 100", 1, 100, whole=True),
        "width": Numbers("a number of units: a whole number from 1 to 100000", 1, 100_000, whole=True),
        "activation": Names(ACTIVATIONS),
        "optimizer": Names(OPTIMIZERS),
        "learning_rate": Numbers("a positive number", 0, open_low=True),
        "l1": Numbers("a number that is not negative", 0),
        "l2": Numbers("a number that is not negative", 0),
        "dropout": Numbers("a fraction: from 0 up to, but not including, 1", 0, 1, open_high=True),
        "batch_size": Numbers("a whole number of at least 1", 1, whole=True),
    }
}


def family_mistakes(family: Any, parameters: Mapping[str, Domain | None], conditions: Any) -> list[Mistake]:
    """Every mistake of a space that claims to be of `family`. A parameter with a broken form has the domain None."""
    if family is None:
        return []
    if not isinstance(family, str) or family not in FAMILIES:
        hint = near(family, FAMILIES) if isinstance(family, str) else ""
        return [Mistake("family", f"is {told(family)}; the ready-made families are: {listed(FAMILIES)}.{hint}")]
    rules = FAMILIES[family]
    missing = [name for name in rules if name not in parameters]
    found = [Mistake(name, f"is missing: the family {family} needs it.") for name in missing]
    for name, domain in parameters.items():
        if name not in rules:
            found.append(Mistake(str(name), unknown_parameter(family, str(name))))
        elif domain is not None:
            found += _rule_mistakes(name, domain, rules[name])
    conditional = conditions if isinstance(conditions, Mapping) else ()
    found += [
        Mistake(f"{name}.when", f"has no place here: every parameter of the family {family} is always active.")
        for name in conditional
    ]
    return found


def unknown_parameter(family: str, name: str) -> str:
    """Why a space of `family` has no parameter `name`."""
    rules = FAMILIES[family]
    synonyms = {
        "lr": "learning_rate", "layers": "depth", "num_layers": "depth", "units": "width", "hidden": "width",
        "weight_decay": "l2", "lambda": "l2", "batch": "batch_size",
    }  # fmt: skip
    hint = near(name, rules, synonyms) or f" Its parameters are: {listed(rules)}."
    return f"is not a parameter of the family {family}.{hint}"


def _rule_mistakes(name: str, domain: Domain, rule: Rule) -> list[Mistake]:
    verb = "is" if isinstance(domain, Fixed) else "includes"
    problems = ((value, rule.problem(value)) for value in domain.extremes)
    return [Mistake(name, f"{verb} {told(value)}; {problem}") for value, problem in problems if problem]
