"""The ready-made space of the mlp family."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces import ACTIVATIONS, OPTIMIZERS, Choice, Fixed, Float, Int, InvalidSpace, Lambda, mlp


def test_the_defaults() -> None:
    space = mlp()
    assert space.family == "mlp"
    assert space.parameters == {
        "depth": Int(1, 4),
        "width": Int(16, 256, log=True),
        "activation": Choice(ACTIVATIONS),
        "optimizer": Choice(OPTIMIZERS),
        "learning_rate": Float(1e-4, 1e-1, log=True),
        "l1": Lambda(1e-7, 1e-2),
        "l2": Lambda(1e-7, 1e-1),
        "dropout": Float(0.0, 0.5),
        "batch_size": Choice([32, 64, 128]),
    }
    assert next(iter(space.parameters)) == "depth"


def test_a_single_value_fixes_a_parameter() -> None:
    space = mlp(depth=2, width=64, activation="relu", optimizer="adam", learning_rate=1, l2=0, dropout=0, batch_size=32)
    assert set(space.free) == {"l1"}
    assert space.parameters["learning_rate"] == Fixed(1.0)
    assert isinstance(space.complete({"l1": 0})["l2"], float)
    assert space.complete({"l1": 0.0})["depth"] == 2


def test_a_domain_or_its_form_is_taken_as_it_is() -> None:
    space = mlp(width=Int(16, 64, step=16), depth=Choice([1, 2, 8]), l2=Float(1e-4, 1e-2, log=True), dropout=Lambda())
    assert space.parameters["width"] == Int(16, 64, step=16)
    assert mlp(width={"type": "int", "low": 16, "high": 64, "step": 16}).parameters["width"] == Int(16, 64, step=16)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"l2": -0.1}, "`l2` is -0.1; expected a number that is not negative."),
        ({"dropout": 1.5}, "`dropout` is 1.5; expected a fraction: from 0 up to, but not including, 1."),
        ({"dropout": 1}, "`dropout` is 1; expected a fraction"),
        ({"l1": Float(-1, 1)}, "`l1` includes -1.0; expected a number that is not negative."),
        ({"learning_rate": 0}, "`learning_rate` is 0; expected a positive number."),
        ({"depth": Float(1, 4)}, "`depth` includes 1.0; expected a number of layers"),
        ({"depth": True}, "`depth` is true"),
        ({"depth": "1-4"}, "from 1 to 100. For a range write [1, 4]."),
        ({"dropout": "(0.1, 0.5)"}, "For a range write [0.1, 0.5]."),
        ({"width": (256, 16)}, "`width.low` is 256, above high = 16"),
        ({"activation": "leakyrelu"}, "Did you mean `leaky_relu`?"),
        ({"optimizer": ["adam", "adam"]}, "`optimizer.options[1]` is 'adam', which repeats it"),
        ({"optimizer": ["adam"]}, "`optimizer.options` has one value"),
        ({"batch_size": 0}, "`batch_size` is 0; expected a whole number of at least 1."),
        ({"learning_rate": float("inf")}, "`learning_rate.value` is inf; expected a finite number."),
        ({"l2": 10**400}, "`l2.value` is a number of 1329 bits; expected a finite number."),
        ({"width": (1, 10**400)}, "`width.high` is a number of 1329 bits"),
        ({"learning_rate": float("nan")}, "`learning_rate` is nan; expected a positive number."),
        ({"dropout": None}, "`dropout` is empty (null); leave it out for the default [0.0, 0.5]."),
    ],
)
def test_the_family_knows_what_its_parameters_mean(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpace) as caught:
        mlp(**arguments)
    assert said in str(caught.value)
