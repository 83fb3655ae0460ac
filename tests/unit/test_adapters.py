"""Spaces written for KerasTuner, Ray Tune and Optuna, read and written with the real libraries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import (
    Choice,
    Fixed,
    Float,
    Int,
    InvalidSpace,
    Lambda,
    Space,
    from_keras_tuner,
    from_optuna,
    from_ray_tune,
    mlp,
    to_keras_tuner,
    to_optuna,
)
from search_spaces.adapters.optuna import values_from_optuna, values_to_optuna


def _everything() -> Space:
    return Space(
        {
            "lr": Float(1e-4, 1e-1, log=True),
            "momentum": Float(0, 0.95, step=0.1),
            "rate": Float(1 / 3, 2 / 3),
            "decade": Float(1e-3, 10, log=True, step=10),
            "units": Int(16, 250, step=32),
            "width": Int(16, 256, log=True),
            "batch": Int(8, 100, log=True, step=2),
            "kind": Choice(["a", "b", None]),
            "l2": Lambda(1e-7, 1e-1),
            "epochs": Fixed(3),
        },
        {"units": {"kind": ["a"]}},
    )


# Optuna


@given(st.fixed_dictionaries({name: st.floats(0, 1) for name in _everything().parameters}))
def test_every_point_is_one_of_optunas_and_comes_back(units: dict[str, float]) -> None:
    space = _everything()
    point = space.from_unit(units)
    distributions = to_optuna(space)
    values = values_to_optuna(space, point)
    for name, value in values.items():
        assert distributions[name]._contains(distributions[name].to_internal_repr(value)), name
    assert values_from_optuna(space, values) == point


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_what_optuna_proposes_is_stored_and_comes_back(seed: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = _everything()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask(to_optuna(space))
    point = values_from_optuna(space, trial.params)
    space.validate(point)
    values = values_to_optuna(space, point)
    assert values_from_optuna(space, values) == point
    for name in values.keys() - {"kind", "l2"}:
        assert values[name] == pytest.approx(trial.params[name]), name
    assert values["l2"] == (pytest.approx(trial.params["l2"]) if trial.params["l2"] >= 0.2 else 0.1)  # 0.1 means 0.0
    again = optuna.trial.create_trial(params=values, distributions={n: to_optuna(space)[n] for n in values}, value=1.0)
    study.add_trial(again)


def test_the_distributions_are_the_nearest_that_optuna_has() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions = to_optuna(_everything())
    assert list(distributions) == list(_everything().order)
    assert distributions == {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "momentum": FloatDistribution(0, 0.9, step=0.1),
        "rate": FloatDistribution(1 / 3, 2 / 3),
        "decade": IntDistribution(0, 4),
        "units": IntDistribution(16, 240, step=32),
        "width": IntDistribution(16, 256, log=True),
        "batch": IntDistribution(0, 3),
        "kind": CategoricalDistribution(["a", "b", None]),
        "l2": FloatDistribution(0, 1),
        "epochs": CategoricalDistribution([3]),
    }


def test_optunas_distributions_become_a_space_and_go_back() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions = {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "momentum": FloatDistribution(0, 0.9, step=0.1),
        "units": IntDistribution(16, 240, step=32),
        "width": IntDistribution(1, 256, log=True),
        "kind": CategoricalDistribution(["a", True, None]),
    }
    assert to_optuna(from_optuna(distributions)) == distributions
    single = {"a": FloatDistribution(2, 2), "b": IntDistribution(3, 3), "c": CategoricalDistribution(["x"])}
    assert from_optuna(single).parameters == {"a": Fixed(2.0), "b": Fixed(3), "c": Fixed("x")}


def test_what_is_not_one_of_optunas_is_refused() -> None:
    with pytest.raises(InvalidSpace) as caught:
        from_optuna({"a": (1, 2), "b": "uniform"})
    assert [mistake.path for mistake in caught.value.mistakes] == ["a", "b"]
    assert "expected a FloatDistribution" in caught.value.problems[0]


# Ray Tune


@pytest.mark.ray
def test_ray_tunes_domains() -> None:
    from ray import tune

    space = from_ray_tune(
        {
            "a": tune.uniform(0, 1),
            "b": tune.loguniform(1e-4, 1e-1),
            "c": tune.quniform(0.1, 1.0, 0.1),
            "d": tune.randint(1, 10),
            "e": tune.lograndint(1, 1000),
            "f": tune.qrandint(5, 32, 4),
            "g": tune.choice(["x", "y"]),
            "h": tune.grid_search([1, 2, 3]),
            "i": {"j": tune.qrandint(1, 10, 1), "k": {"l": 7}},
            "m": "constant",
            "n": tune.choice([1]),
            "o": tune.randint(3, 4),
            "p": None,
        }
    )
    assert space.parameters == {
        "a": Float(0, 1),
        "b": Float(1e-4, 1e-1, log=True),
        "c": Float(0.1, 1.0, step=0.1),
        "d": Int(1, 9),
        "e": Int(1, 999, log=True),
        "f": Int(8, 32, step=4),
        "g": Choice(["x", "y"]),
        "h": Choice([1, 2, 3]),
        "i/j": Int(1, 9),
        "i/k/l": Fixed(7),
        "m": Fixed("constant"),
        "n": Fixed(1),
        "o": Fixed(3),
        "p": Fixed(None),
    }


@pytest.mark.ray
def test_what_ray_tune_draws_is_a_value_of_the_space() -> None:
    from ray import tune

    param_space = {
        "a": tune.uniform(0, 1),
        "c": tune.quniform(0.2, 1.0, 0.2),
        "d": tune.randint(1, 4),
        "e": tune.lograndint(1, 5),
        "f": tune.qrandint(5, 32, 4),
        "j": tune.qrandint(1, 4, 1),
        "g": tune.choice(["x", "y"]),
    }
    space = from_ray_tune(param_space)
    drawn: dict[str, set[Any]] = {name: set() for name in param_space}
    for seed in range(200):
        for name, domain in param_space.items():
            value = domain.sample(random_state=seed)
            space.parameters[name].validate(value)
            drawn[name].add(value)
    for name in ("d", "e", "f", "j", "g"):
        assert drawn[name] == set(space.parameters[name].grid(99))


@pytest.mark.ray
def test_what_ray_tune_has_and_we_have_not_is_refused_with_a_sentence() -> None:
    from ray import tune

    with pytest.raises(InvalidSpace) as caught:
        from_ray_tune(
            {
                "a": tune.sample_from(lambda _: 3),
                "b": tune.randn(0, 1),
                "c": tune.qrandn(0, 1, 0.1),
                "d": tune.qloguniform(0.1, 10, 0.1),
                "e": tune.qlograndint(1, 10, 2),
                "f": {"g": [1, 2]},
                "h": tune.uniform(2, 1),
                "i": tune.choice([[1], [2]]),
                "x/y": 1,
                "x": {"y": 2},
            }
        )
    problems = {problem.split("`")[1]: problem for problem in caught.value.problems}
    assert set(problems) == {"a", "b", "c", "d", "e", "f/g", "h.low", "i.options[0]", "i.options[1]", "x/y"}
    assert "tune.sample_from, which has no counterpart here: a function has no bounds" in problems["a"]
    assert "Use tune.uniform" in problems["b"]
    assert "expected a domain such as tune.uniform, or a constant" in problems["f/g"]


# KerasTuner


def _build(hp: Any) -> None:
    """What a build(hp) function declares."""
    hp.Int("units", 32, 512, step=32)
    hp.Int("filters", 8, 64, sampling="log")
    hp.Int("batch", 16, 128, step=2, sampling="log")
    hp.Float("lr", 1e-4, 1e-2, sampling="log")
    hp.Float("rate", 0.0, 0.5, step=0.1)
    hp.Float("decade", 1e-3, 10, step=10, sampling="log")
    hp.Choice("activation", ["relu", "tanh"])
    hp.Choice("single", [3])
    hp.Boolean("norm")
    hp.Fixed("seed", 7)
    hp.Int("one", 4, 4)
    hp.Choice("model", ["mlp", "cnn", "none"])
    with hp.conditional_scope("model", ["mlp"]):
        hp.Int("layers", 1, 3)
        for layer in range(3):
            with hp.conditional_scope("layers", list(range(layer + 1, 10))):  # 4 to 9 never happen
                hp.Int(f"width_{layer}", 8, 64)
        with hp.conditional_scope("layers", [7]):
            hp.Int("never", 1, 2)
    for model in ("mlp", "cnn"):
        with hp.conditional_scope("model", [model]):
            hp.Float("dropout", 0.0, 0.5)
    with hp.name_scope("head"):
        hp.Int("y", 1, 2)


@pytest.mark.tensorflow
def test_keras_tuners_parameters_and_scopes() -> None:
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    _build(hp)
    space = from_keras_tuner(hp)
    assert space.parameters == {
        "units": Int(32, 512, step=32),
        "filters": Int(8, 64, log=True),
        "batch": Int(16, 128, log=True, step=2),
        "lr": Float(1e-4, 1e-2, log=True),
        "rate": Float(0, 0.5, step=0.1),
        "decade": Float(1e-3, 10, log=True, step=10),
        "activation": Choice(["relu", "tanh"]),
        "single": Fixed(3),
        "norm": Choice([False, True]),
        "seed": Fixed(7),
        "one": Fixed(4),
        "model": Choice(["mlp", "cnn", "none"]),
        "layers": Int(1, 3),
        "width_0": Int(8, 64),
        "width_1": Int(8, 64),
        "width_2": Int(8, 64),
        "dropout": Float(0, 0.5),
        "head/y": Int(1, 2),
    }
    assert space.conditions == {
        "layers": {"model": ("mlp",)},
        "width_0": {"model": ("mlp",), "layers": (1, 2, 3)},
        "width_1": {"model": ("mlp",), "layers": (2, 3)},
        "width_2": {"model": ("mlp",), "layers": (3,)},
        "dropout": {"model": ("mlp", "cnn")},
    }
    for corner in space.corners():
        hp.values = dict(corner)
        for parameter in hp.space:
            assert hp.is_active(parameter.name) == (parameter.name in corner), parameter.name


@pytest.mark.tensorflow
def test_what_keras_tuner_draws_is_a_value_of_the_space() -> None:
    import keras_tuner

    parameters = {
        "units": Int(32, 500, step=32),
        "batch": Int(16, 128, log=True, step=2),
        "lr": Float(1e-4, 1e-2, log=True),
        "rate": Float(0, 0.5, step=0.1),
        "decade": Float(1e-3, 10, log=True, step=10),
    }
    hp = to_keras_tuner(Space(parameters))
    assert isinstance(hp, keras_tuner.HyperParameters)
    for parameter in hp.space:
        for seed in range(50):
            value = parameter.random_sample(seed)
            parameters[parameter.name].validate(value)


@pytest.mark.tensorflow
def test_what_keras_tuner_has_and_we_have_not_is_refused_with_a_sentence() -> None:
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.Float("momentum", 0.5, 0.99, sampling="reverse_log")
    hp.Choice("model", ["a", "b"])
    hp.Choice("other", ["a", "b"])
    with hp.conditional_scope("model", ["a"]):
        hp.Int("units", 1, 8)
        hp.Int("size", 1, 8)
    with hp.conditional_scope("model", ["b"]):
        hp.Int("units", 1, 16)
    with hp.conditional_scope("other", ["b"]):
        hp.Int("size", 1, 8)
    with pytest.raises(InvalidSpace) as caught:
        from_keras_tuner(hp)
    problems = {problem.split("`")[1]: problem for problem in caught.value.problems}
    assert set(problems) == {"momentum", "units", "size"}
    assert "reverse_log" in problems["momentum"]
    assert "is declared with two ranges" in problems["units"]
    with pytest.raises(InvalidSpace, match="declared no hyperparameter"):
        from_keras_tuner(keras_tuner.HyperParameters())


@pytest.mark.tensorflow
def test_a_space_becomes_keras_tuners_and_comes_back() -> None:
    space = Space(
        {
            "kind": Choice(["mlp", "linear"]),
            "norm": Choice([False, True]),
            "units": Int(16, 256, log=True),
            "batch": Int(16, 128, log=True, step=2),
            "rate": Float(0, 0.5, step=0.1),
            "mixed": Choice([1, 2.5]),
            "seed": Fixed(7),
        },
        {"units": {"kind": ["mlp"], "norm": [True]}},
    )
    back = from_keras_tuner(to_keras_tuner(space))
    assert back.parameters == {**space.parameters, "mixed": Choice([1.0, 2.5])}
    assert back.conditions == space.conditions
    assert set(to_keras_tuner(mlp()).values) == set(mlp().parameters)
    strengths = next(parameter for parameter in to_keras_tuner(mlp()).space if parameter.name == "l2").values
    assert (strengths[0], strengths[1], strengths[-1]) == (0.0, 1e-7, 1e-1)
    with pytest.raises(InvalidSpace) as caught:
        to_keras_tuner(Space({"a": Choice(["x", None]), "b": Fixed(None), "c": Choice([1, "x"])}))
    assert [mistake.path for mistake in caught.value.mistakes] == ["a", "b", "c"]
