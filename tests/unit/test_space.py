"""The space: conditions, points, corners, the JSON form and its hash."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Choice, Fixed, Float, Int, InvalidSpace, Lambda, Space, mlp


def _nested() -> Space:
    """kind: mlp | cnn | none; units under mlp, filters and pool under cnn, window where pool is max."""
    return Space(
        {
            "window": Int(2, 4),
            "pool": Choice(["max", "mean"]),
            "filters": Int(8, 64, log=True),
            "units": Int(16, 256),
            "kind": Choice(["mlp", "cnn", "none"]),
            "lr": Float(1e-4, 1e-1, log=True),
            "epochs": Fixed(3),
        },
        {
            "units": {"kind": ["mlp"]},
            "filters": {"kind": ["cnn"]},
            "pool": {"kind": ["cnn"]},
            "window": {"pool": ["max"], "kind": ["cnn"]},
        },
    )


def test_a_parameter_is_active_where_all_its_parents_are() -> None:
    space = _nested()
    assert space.order.index("kind") < space.order.index("pool") < space.order.index("window")
    assert space.active({"kind": "mlp"}) == ("epochs", "kind", "lr", "units")
    assert set(space.active({"kind": "cnn", "pool": "max"})) == {"epochs", "kind", "lr", "filters", "pool", "window"}
    assert "window" not in space.active({"kind": "cnn", "pool": "mean"})
    assert "window" not in space.active({"kind": "mlp", "pool": "max"})


def test_a_point_is_completed_as_it_is_stored() -> None:
    params = _nested().complete({"kind": "mlp", "units": 20, "lr": 0.01, "pool": "max", "window": 3})
    assert params == {"epochs": 3, "kind": "mlp", "lr": 0.01, "units": 20}
    assert list(params) == ["epochs", "kind", "lr", "units"]


def test_all_mistakes_of_a_point_are_told() -> None:
    with pytest.raises(InvalidSpace) as caught:
        _nested().validate({"kind": "mlp", "lr": 7, "unit": 3, "pool": "max", "epochs": 3})
    assert sorted(caught.value.problems) == [
        "`lr` is 7; expected a number from 0.0001 to 0.1.",
        "`pool` is the text 'max', but it is not active here: leave it out.",
        "`unit` is not a parameter of this space. Did you mean `units`?",
        "`units` is missing: it is active here.",
    ]


@given(st.fixed_dictionaries({name: st.floats(0, 1) for name in _nested().parameters}))
def test_a_point_survives_the_way_into_the_unit_box_and_back(units: dict[str, float]) -> None:
    space = _nested()
    point = space.from_unit(units)
    space.validate(point)
    assert space.from_unit(space.to_unit(point)) == point
    assert space.complete(point) == point
    assert list(point) == list(space.active(point))


def test_a_place_that_is_needed_and_missing_is_named() -> None:
    with pytest.raises(InvalidSpace, match="`lr` is missing"):
        _nested().from_unit({"kind": 0.9})


def test_corners_show_both_ends_and_each_option() -> None:
    space = _nested()
    points = space.corners()
    for point in points:
        space.validate(point)
    shown = {pair for point in points for pair in point.items()}
    assert shown >= {("kind", "mlp"), ("kind", "cnn"), ("kind", "none"), ("pool", "max"), ("pool", "mean")}
    assert shown >= {("window", 2), ("window", 4), ("filters", 8), ("filters", 64), ("units", 16), ("units", 256)}
    assert len(points) <= 8


def test_corners_of_the_family_are_few_and_begin_with_the_extremes() -> None:
    points = mlp().corners()
    assert len(points) == 8
    assert [points[0][name] for name in ("depth", "width", "l2", "batch_size")] == [1, 16, 0.0, 32]
    assert [points[1][name] for name in ("depth", "width", "l2", "batch_size")] == [4, 256, 0.1, 128]


def test_a_fixed_space_has_one_corner_and_an_impossible_condition_none() -> None:
    assert Space({"a": Fixed(1)}).corners() == [{"a": 1}]
    space = Space(
        {"a": Choice([1, 2]), "b": Choice([1, 2]), "c": Choice([1, 2])},
        {"b": {"a": [1]}, "c": {"a": [2], "b": [1]}},
    )
    assert all("c" not in point for point in space.corners())


def test_corners_reach_what_needs_two_parents_to_agree() -> None:
    space = Space(
        {"a": Choice(["x", "y", "z"]), "b": Choice([1, 2, 3, 4]), "c": Choice(["p", "q"]), "d": Choice(["r", "s"])},
        {"c": {"a": ["y"], "b": [3]}, "d": {"a": ["z"], "b": [2], "c": ["q"]}},
    )
    shown = {pair for point in space.corners() for pair in point.items()}
    assert {("c", "p"), ("c", "q")} <= shown
    assert not any(name == "d" for name, _ in shown)  # it needs a = z, and through c a = y


def test_the_json_form_gives_an_equal_space_with_the_same_hash() -> None:
    for space in (_nested(), mlp(), mlp(l2=0, depth=2)):
        form = json.loads(json.dumps(space.to_json(), allow_nan=False))
        again = Space.from_json(form)
        assert again == space
        assert (again.hash, hash(again)) == (space.hash, hash(space))
        assert again.to_json() == form


def test_the_hash_depends_on_what_is_said_and_not_on_how() -> None:
    one = Space({"a": Choice(["x", "y"]), "b": Int(1, 3)}, {"b": {"a": ["y", "x", "y"]}})
    two = Space({"b": Int(1, 3, step=1), "a": Choice(("x", "y"))}, {"b": {"a": ("x", "y")}})
    assert one.hash == two.hash
    assert one.order == two.order
    assert one == two
    assert one.hash != Space({"a": Choice(["y", "x"]), "b": Int(1, 3)}, {"b": {"a": ["x", "y"]}}).hash
    assert one.hash != Space({"a": Choice(["x", "y"]), "b": Int(1, 3)}).hash
    assert Space({"a": Float(0, 1)}) == Space({"a": Float(-0.0, 1.0)})


def test_the_hash_is_stable_between_versions() -> None:
    space = Space({"units": Int(16, 256, log=True), "l2": Lambda(1e-6, 0.1)})
    assert space.hash == "0770eb7b25db8ab9f30f571a318fa97c9a0b35ef6a3082c6ca24b99f50a7e23c"


@pytest.mark.parametrize(
    ("parameters", "conditions", "said"),
    [
        ({}, None, "The space is empty; expected at least one parameter."),
        ({"a": Int(1, 2)}, {"b": {"a": [1]}}, "`b.when` is for a parameter that does not exist."),
        (
            {"units": Int(1, 2)},
            {"units": {"unit": [1]}},
            "`units.when.unit` names a parent that does not exist. Did you mean `units`?",
        ),
        ({"a": Int(1, 2), "b": Int(1, 2)}, {"b": {"a": [3]}}, "`b.when.a[0]` is 3; expected a number from 1 to 2."),
        ({"a": Int(1, 2), "b": Int(1, 2)}, {"b": {"a": []}}, "`b.when.a` is an empty list"),
        ({"a": Int(1, 2), "b": Int(1, 2)}, {"b": {"a": 1}}, "`b.when.a` is 1; expected a list"),
        ({"a": Int(1, 2), "b": Int(1, 2)}, {"b": {}}, "`b.when` is a mapping; expected {parent: [values]}"),
        ({"a": Int(1, 2)}, {"a": {"a": [1]}}, "`a.when` makes a cycle: a -> a."),
        (
            {name: Int(1, 2) for name in "abcd"},
            {"d": {"a": [1]}, "a": {"b": [1]}, "b": {"c": [1]}, "c": {"a": [1]}},
            "`a.when` makes a cycle: a -> b -> c -> a.",
        ),
        ({"a": 3}, None, "`a` is 3; expected Float, Int, Choice, Lambda or Fixed."),
        ({"": Int(1, 2)}, None, "`''` is not a name"),
        ({"a\nb": Int(1, 2)}, None, "`'a\\nb'` is not a name"),
        ({"a\u202eb": Int(1, 2)}, None, "is not a name"),
        ({"a" * 129: Int(1, 2)}, None, "has 129 characters"),
        ({7: Int(1, 2)}, None, "`7` is 7 as a name; names are texts: put it in quotes."),
        ([1], None, "`parameters` is the list [1]"),
        ({"a": Int(1, 2)}, [1], "`conditions` is the list [1]"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(parameters: Any, conditions: Any, said: str) -> None:
    with pytest.raises(InvalidSpace) as caught:
        Space(parameters, conditions)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_diamond_of_conditions_is_no_cycle() -> None:
    parameters = {name: Int(1, 2) for name in "abcd"}
    space = Space(parameters, {"d": {"b": [1], "c": [1]}, "b": {"a": [1]}, "c": {"a": [1]}})
    assert space.order == ("a", "b", "c", "d")


def test_a_family_has_its_rules_also_in_python() -> None:
    with pytest.raises(InvalidSpace) as caught:
        Space({**mlp().parameters, "dropout": Float(0, 1.5), "units": Int(1, 2)}, family="mlp")
    assert caught.value.problems == (
        "`dropout` includes 1.5; expected a fraction: from 0 up to, but not including, 1.",
        "`units` is not a parameter of the family mlp. Did you mean `width`?",
    )
    with pytest.raises(InvalidSpace, match="Did you mean `mlp`"):
        Space({"a": Int(1, 2)}, family="mpl")


def test_the_room_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, search_spaces; search_spaces.mlp(); "
        "print([name for name in ('numpy', 'tensorflow', 'ray', 'optuna', 'keras_tuner') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
