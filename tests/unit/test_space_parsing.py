"""Spaces as people write them: short forms, and every mistake named with its path and what to type instead."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from search_spaces import Choice, Fixed, Float, Int, InvalidSpace, Lambda, Space, mlp, parse


def _problems(text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidSpace) as caught:
        parse(yaml.safe_load(text))
    return caught.value.problems


def test_named_domains_and_conditions() -> None:
    form = yaml.safe_load(
        """
        kind: {type: choice, options: [mlp, linear]}
        units: {type: int, low: 16, high: 256, log: true, when: {kind: [mlp]}}
        l2: {type: lambda, low: 1.0e-6, high: 0.1, zero: 0.3}
        lr: {type: float, low: 1.0e-4, high: 0.1, log: true}
        epochs: 3
        activation: [relu, tanh]
        """
    )
    expected = Space(
        {
            "kind": Choice(["mlp", "linear"]),
            "units": Int(16, 256, log=True),
            "l2": Lambda(1e-6, 0.1, zero=0.3),
            "lr": Float(1e-4, 0.1, log=True),
            "epochs": Fixed(3),
            "activation": Choice(["relu", "tanh"]),
        },
        {"units": {"kind": ["mlp"]}},
    )
    assert parse(form) == expected
    assert parse(expected) is expected
    assert parse(expected.to_json()) == expected
    assert parse({"parameters": expected.to_json()["parameters"]}) == expected


def test_a_family_with_arguments() -> None:
    space = parse(
        {"family": "mlp", "depth": [1, 3], "l2": 0, "activation": "relu", "width": {"type": "fixed", "value": 8}}
    )
    assert space == mlp(depth=(1, 3), l2=0, activation="relu", width=8)
    assert space.family == "mlp"
    assert parse(space.to_json()) == space


def test_a_parameter_may_have_the_name_of_a_key() -> None:
    form = {"family": {"type": "int", "low": 1, "high": 2}, "parameters": {"type": "choice", "options": ["a", "b"]}}
    assert set(parse(form).parameters) == {"family", "parameters"}


def test_all_mistakes_of_a_family_are_told_at_once() -> None:
    problems = _problems(
        """
        family: mlp
        lr: 3
        depth: [4, 4]
        width: [16, 32, 64]
        activation: [relu, tahn]
        optimizer: no
        learning_rate: 1e-3
        l1: [0, 0.1]
        l2: -0.1
        dropout: 1.5
        batch_size: []
        """
    )
    assert [problem.split("`")[1] for problem in problems] == [
        "space.lr", "space.depth.low", "space.width", "space.activation[1]", "space.optimizer", "space.learning_rate",
        "space.l1.low", "space.l2", "space.dropout", "space.batch_size.options",
    ]  # fmt: skip
    by_path = {problem.split("`")[1]: problem for problem in problems}
    assert "Did you mean `learning_rate`?" in by_path["space.lr"]
    assert "{type: choice, options: [16, 32, 64]}" in by_path["space.width"]
    assert "Did you mean `tanh`?" in by_path["space.activation[1]"]
    assert "YAML reads unquoted yes, no, on and off" in by_path["space.optimizer"]
    assert "write 1.0e-3." in by_path["space.learning_rate"]
    assert "can always be exactly 0" in by_path["space.l1.low"]
    assert "is -0.1; expected a number that is not negative" in by_path["space.l2"]
    assert "is 1.5; expected a fraction" in by_path["space.dropout"]


def test_all_mistakes_of_named_domains_are_told_at_once() -> None:
    problems = _problems(
        """
        lr: 1e-3
        optimizer: no
        units: {type: int, min: 3, high: 2}
        width: {type: int, low: 8, high: 2, log: perhaps}
        rate: {type: float, low: .nan, high: .inf}
        one: {type: choice, options: [1]}
        none: {type: choice, options: []}
        twice: {type: choice, options: [a, b, a], when: {unitz: [3]}}
        mixed: {type: choice, options: [relu, no]}
        rates: {type: choice, options: [1e-3, 1e-2]}
        step: {type: int, low: 0, high: 4, step: 0}
        far: {type: float, low: 0, high: 1, step: 2}
        kind: {type: integer, low: 1, high: 2}
        bare: {low: 1, high: 2}
        range: [1, 4]
        empty:
        3: 4
        """
    )
    expected = [
        "`space.lr` is the text '1e-3'; expected a number. YAML reads it as text: write 1.0e-3.",
        "`space.optimizer` is false (YAML reads unquoted yes, no, on and off as true and false); put a text in quotes, "
        "or write {type: fixed, value: false} to fix the parameter to false.",
        "`space.units.min` is not a field. Did you mean `low`?",
        "`space.width.log` is the text 'perhaps'; expected true or false.",
        "`space.width.low` is 8, above high = 2; expected low below high.",
        "`space.rate.low` is nan; expected a finite number.",
        "`space.rate.high` is inf; expected a finite number.",
        "`space.one.options` has one value, 1; expected at least two. To fix it write {type: fixed, value: 1}.",
        "`space.none.options` is empty; expected a list of at least two values.",
        "`space.twice.options[2]` is 'a', which repeats it: give each option once.",
        "`space.mixed.options[1]` is false (YAML reads unquoted yes, no, on and off as true and false) among texts; "
        "put it in quotes.",
        "`space.rates.options[0]` is the text '1e-3'; expected a number. YAML reads it as text: write 1.0e-3.",
        "`space.rates.options[1]` is the text '1e-2'; expected a number. YAML reads it as text: write 1.0e-2.",
        "`space.step.step` is 0; expected a positive number.",
        "`space.far.step` is 2; expected at most high - low = 1.",
        "`space.kind.type` is the text 'integer'; expected one of float, int, choice, lambda, fixed. "
        "Did you mean `int`?",
        "`space.bare.type` is missing; expected one of float, int, choice, lambda, fixed.",
        "`space.range` is the list [1, 4]; for a range write {type: int, low: 1, high: 4}, for two values "
        "{type: choice, options: [1, 4]}.",
        "`space.empty` is empty (null); write {type: fixed, value: null} to fix the parameter to null.",
        "`space.3` is 3 as a name; names are texts: put it in quotes.",
        "`space.twice.when.unitz` names a parent that does not exist. Did you mean `units`?",
    ]
    assert sorted(problems) == sorted(expected)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([], "`space` is the list []; expected a mapping such as {family: mlp}"),
        ({}, "`space` is an empty mapping"),
        (None, "`space` is empty (null)"),
        ("mlp", "`space` is the text 'mlp'"),
        ({"family": None}, "`space` is empty; expected at least one parameter."),
        ({"family": "mpl"}, "`space.family` is the text 'mpl'; the ready-made families are: mlp. Did you mean `mlp`?"),
        ({"family": 3}, "`space.family` is 3"),
        ({"family": "mlp", "depht": 2}, "`space.depht` is not a parameter of the family mlp. Did you mean `depth`?"),
        ({"family": "mlp", "depth": 2.0}, "`space.depth` is 2.0; expected a number of layers"),
        ({"family": "mlp", "depth": [1.0, 4]}, "`space.depth.low` is 1.0; expected a whole number. Write 1."),
        ({"family": "mlp", "depth": None}, "`space.depth` is empty (null); leave it out for the default [1, 4]."),
        ({"family": "mlp", "depth": [0, 2]}, "`space.depth` includes 0; expected a number of layers"),
        ({"family": "mlp", "dropout": [0, 1]}, "`space.dropout` includes 1.0; expected a fraction"),
        ({"family": "mlp", "l2": [-0.1, 0.1]}, "`space.l2.low` is -0.1"),
        ({"family": "mlp", "l2": [0.1, 0.01]}, "`space.l2.low` is 0.1, above high = 0.01"),
        ({"family": "mlp", "learning_rate": ["1e-4", 0.1]}, "`space.learning_rate.low` is the text '1e-4'"),
        ({"family": "mlp", "optimizer": "Adam"}, "Did you mean `adam`?"),
        ({"family": "mlp", "batch_size": [32, "64"]}, "`space.batch_size[1]` is the text '64'"),
        ({"family": "mlp", "optimizer": {"type": "choice", "options": ["adam", "lion"]}}, "includes the text 'lion'"),
        (
            {"family": "mlp", "width": {"type": "int", "low": 1, "high": 9, "when": {"depth": [2]}}},
            "`space.width.when` has no place here",
        ),
        (
            {"schema": 2, "family": None, "parameters": {"a": {"type": "int", "low": 1, "high": 2}}},
            "`space.schema` is 2",
        ),
        ({"schema": 1, "parameters": [1]}, "`space.parameters` is the list [1]"),
        ({"schema": 1, "family": "mlp", "parameters": {**mlp().to_json()["parameters"], "x": 3}}, "`space.x` is 3"),
        ({"a": {"type": "int", "low": 1, "high": 2, "when": {"a": [1]}}}, "makes a cycle: a -> a."),
        ({"a": {"type": "choice", "options": "relu"}}, "`space.a.options` is the text 'relu'"),
        ({"a": {"type": ["int"]}}, "`space.a.type` is the list ['int']"),
        ({"a": {"type": "fixed", "value": "1e5"}}, "`space.a.value` is the text '1e5'"),
        ({"a": {"type": "int", "low": 1, "high": 2, "when": 3}}, "`space.a.when` is 3; expected {parent: [values]}."),
    ],
)
def test_each_mistake_has_its_sentence(form: Any, said: str) -> None:
    with pytest.raises(InvalidSpace) as caught:
        parse(form)
    assert said in str(caught.value)


def test_the_path_can_be_named_by_the_caller() -> None:
    with pytest.raises(InvalidSpace, match=r"`other\.a\.low` is 3"):
        parse({"a": {"type": "int", "low": 3, "high": 2}}, path="other")


def test_a_broken_parent_hides_no_other_mistake_and_adds_none() -> None:
    problems = _problems("{kind: {type: choice, options: [a]}, units: {type: int, low: 1, high: 2, when: {kind: [b]}}}")
    assert len(problems) == 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
fields = ("low", "high", "log", "step", "options", "value", "when", "zero")
kinds = ("float", "int", "choice", "lambda", "fixed")
others = ("type", "family", "mlp", "schema", "parameters", "depth", "l2", "optimizer", "a", "b", "1e-3")
words = st.sampled_from((*fields, *kinds, *others))
forms = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | scalars, inner, max_size=5),
    max_leaves=20,
)
domain_forms = st.fixed_dictionaries(
    {"type": st.sampled_from(kinds)},
    optional=dict.fromkeys(("low", "high", "log", "step", "options", "value", "when", "zero"), forms),
)


@example({True: {"type": "float", "when": {True: [None]}}})  # a name that is no text, in a cycle
@given(st.dictionaries(words | scalars, forms | domain_forms, max_size=4) | forms)
def test_whatever_is_given_is_a_space_or_has_sentences(form: Any) -> None:
    try:
        space = parse(form)
    except InvalidSpace as error:
        problems = error.problems
    else:
        problems = ("`space` is sound",)
        assert Space.from_json(space.to_json()) == space
    assert problems
    assert all(problem.startswith("`space") for problem in problems)
