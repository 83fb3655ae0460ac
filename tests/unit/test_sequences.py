"""The Sobol sequence and the walk over a grid: even, complete, and the same for the same seed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from search_spaces import Choice, Fixed, Float, Int, Lambda, Space
from tuner.samplers.sampling import Exhausted, Observation, Sampler
from tuner.samplers.sequences import GRID_POINTS, sobol


@pytest.mark.parametrize("seed", [0, 12345])
def test_every_axis_of_a_sobol_sequence_is_even(seed: int) -> None:
    points = [sobol(index, 21, seed) for index in range(128)]
    for axis in range(21):
        assert sorted(int(point[axis] * 128) for point in points) == list(range(128))


def test_the_first_sobol_points_fill_boxes_too() -> None:
    for index in (0, 64, 192):  # any aligned run of 64 points has one in each box of the first two axes
        boxes = {(int(x * 8), int(y * 8)) for x, y in (sobol(index + k, 2, 7) for k in range(64))}
        assert len(boxes) == 64


def test_without_its_shift_the_sequence_is_the_published_one() -> None:
    origin = sobol(0, 5, 3)

    def published(index: int) -> list[float]:
        pairs = zip(sobol(index, 5, 3), origin, strict=True)
        return [(int(value * 2**32) ^ int(start * 2**32)) / 2**32 for value, start in pairs]

    assert [published(index) for index in (1, 2, 3)] == [
        [0.5] * 5,
        [0.75, 0.25, 0.25, 0.25, 0.75],
        [0.25, 0.75, 0.75, 0.75, 0.25],
    ]


def test_a_sobol_point_follows_from_index_and_seed_in_any_dimension() -> None:
    assert sobol(5, 30, 1) == sobol(5, 30, 1)
    assert sobol(5, 30, 1)[:21] == sobol(5, 21, 1)
    assert sobol(5, 3, 1) != sobol(5, 3, 2)
    assert len({value for point in (sobol(index, 30, 1) for index in range(50)) for value in point}) > 1400
    assert all(0 < value < 1 for index in range(2**10) for value in sobol(index, 30, 4))


def walk(space: Space, seed: int = 0, enqueued: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    """All proposals of a grid until it is exhausted."""
    sampler = Sampler(space, "grid", seed, "minimize")
    for number, params in enumerate(enqueued):
        sampler.observe(Observation(number, "running", params))
    points: list[dict[str, Any]] = []
    try:
        while True:
            points.append(sampler.propose(len(points) + len(enqueued)).params)
            sampler.observe(Observation(len(points) + len(enqueued) - 1, "running", points[-1]))
    except Exhausted:
        return points


def test_a_grid_has_every_combination_once_in_an_order_that_the_seed_chooses() -> None:
    parameters = {"depth": Int(1, 3), "kind": Choice(["a", "b"]), "rate": Float(0, 1), "l2": Lambda(), "size": Fixed(8)}
    space = Space(parameters)
    points, other = walk(space), walk(space, seed=1)
    values = {name: domain.grid(GRID_POINTS) for name, domain in parameters.items()}
    expected = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    assert len(points) == len(expected) == 3 * 2 * 5 * 5
    assert all(point in points and point in other for point in expected)
    assert points != other
    assert len({point["depth"] for point in points[:12]}) == 3


CONDITIONAL = Space(
    {"cell": Choice(["lstm", "dense"]), "gates": Int(1, 3), "bias": Choice([True, False])},
    {"gates": {"cell": ["lstm"]}, "bias": {"gates": [1, 2]}},
)


def test_a_grid_has_no_copies_for_parameters_that_do_not_apply() -> None:
    lstm = [{"cell": "lstm", "gates": gates, "bias": bias} for gates in (1, 2) for bias in (True, False)]
    expected = [*lstm, {"cell": "lstm", "gates": 3}, {"cell": "dense"}]
    points = walk(CONDITIONAL)
    assert len(points) == len(expected)
    assert all(point in points for point in expected)


def test_a_grid_leaves_out_what_a_user_enqueued() -> None:
    assert {"cell": "dense"} not in walk(CONDITIONAL, enqueued=({"cell": "dense"},))


def test_a_grid_too_large_to_list_is_walked_all_the_same() -> None:
    space = Space({f"x{k}": Float(0, 1) for k in range(20)})
    sampler = Sampler(space, "grid", 0, "minimize")
    points = []
    for number in range(100):
        points.append(sampler.propose(number).params)
        sampler.observe(Observation(number, "running", points[-1]))
    assert len({str(point) for point in points}) == 100
    assert all(len({point[name] for point in points}) == 5 for name in space.parameters)
