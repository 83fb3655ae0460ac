"""Domains: which values they hold, where those lie in the unit interval, and that the way back is exact."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search_spaces import Choice, Domain, Fixed, Float, Int, InvalidSpace, Lambda, domain_from_json

UNIT = st.floats(0.0, 1.0)
FINITE = st.floats(-1e12, 1e12).filter(lambda number: number == 0 or abs(number) > 1e-12)
POSITIVE = st.floats(1e-30, 1e30)


def _made(make: Any, *args: Any, **options: Any) -> Domain:
    """The domain, or another example where these bounds do not make one."""
    try:
        domain: Domain = make(*args, **options)
    except InvalidSpace:
        assume(False)
    return domain


floats = st.builds(lambda low, high: _made(Float, low, high), FINITE, FINITE)
log_floats = st.builds(lambda low, high: _made(Float, low, high, log=True), POSITIVE, POSITIVE)
stepped_floats = st.builds(
    lambda low, step, count: _made(Float, low, low + step * count, step=step),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 10),
    st.integers(1, 500),
)
multiplied_floats = st.builds(
    lambda low, factor, high: _made(Float, low, high, log=True, step=factor), POSITIVE, st.floats(1.01, 20), POSITIVE
)
ints = st.builds(
    lambda low, span, step: _made(Int, low, low + span, step=step),
    st.integers(-(10**11), 10**11),
    st.integers(1, 10**11),
    st.integers(1, 1000),
)
log_ints = st.builds(
    lambda low, span, step: _made(Int, low, low + span, log=True, step=step),
    st.integers(1, 10**6),
    st.integers(1, 10**11),
    st.integers(1, 16),
)
lambdas = st.builds(
    lambda low, high, zero: _made(Lambda, low, high, zero=zero), POSITIVE, POSITIVE, st.floats(0.01, 0.99)
)
options = st.lists(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), min_size=2)
choices = options.map(lambda values: _made(Choice, values))
numbers = floats | log_floats | stepped_floats | multiplied_floats | ints | log_ints | lambdas
domains = numbers | choices | st.integers().map(Fixed)


@given(domains, UNIT)
def test_a_value_survives_the_way_into_the_unit_interval_and_back(domain: Domain, u: float) -> None:
    value = domain.from_unit(u)
    domain.validate(value)
    place = domain.to_unit(value)
    assert 0.0 <= place <= 1.0
    again = domain.from_unit(place)
    assert again == value
    assert type(again) is type(value)
    assert domain.snap(value) == value


@given(domains)
def test_the_edges_survive_too(domain: Domain) -> None:
    for value in [*domain.extremes, *domain.grid(5)]:
        assert domain.from_unit(domain.to_unit(value)) == value


@given(numbers, st.floats(-1e31, 1e31))
def test_the_nearest_value_to_any_number_is_one_of_the_domain_and_stays(domain: Domain, number: float) -> None:
    value = domain.snap(number)
    domain.validate(value)
    assert domain.snap(value) == value
    assert domain.from_unit(domain.to_unit(value)) == value


@given(domains)
def test_the_json_form_gives_an_equal_domain(domain: Domain) -> None:
    assert domain_from_json(domain.to_json()) == domain
    assert copy.deepcopy(domain) == domain


@given(numbers, UNIT, UNIT)
def test_larger_places_mean_larger_numbers(domain: Domain, one: float, two: float) -> None:
    low, high = domain.from_unit(min(one, two)), domain.from_unit(max(one, two))
    assert isinstance(low, (int, float))
    assert isinstance(high, (int, float))
    assert low <= high


def test_the_ends_of_the_interval_are_the_ends_of_the_range_exactly() -> None:
    domain = Float(1 / 3, 2 / 3)
    assert (domain.from_unit(0.0), domain.from_unit(1.0)) == (1 / 3, 2 / 3)
    assert (Lambda(1e-6, 1 / 3).from_unit(0.0), Lambda(1e-6, 1 / 3).from_unit(1.0)) == (0.0, 1 / 3)


def test_orders_of_magnitude_are_equally_likely_with_log() -> None:
    assert Float(1e-4, 1.0, log=True).from_unit(0.5) == 1e-2
    width = Int(16, 256, log=True)
    values = [width.from_unit((k + 0.5) / 4000) for k in range(4000)]
    below = sum(value < 64 for value in values if isinstance(value, int))
    assert 0.47 < below / 4000 < 0.53


def test_every_value_of_a_small_range_has_an_equal_share() -> None:
    depth = Int(1, 4)
    assert [depth.from_unit((k + 0.5) / 8) for k in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_zero_has_its_share_of_a_lambda_and_the_rest_is_logarithmic() -> None:
    l2 = Lambda(1e-6, 1e-2, zero=0.25)
    assert [l2.from_unit(u) for u in (0.0, 0.1, 0.2499)] == [0.0, 0.0, 0.0]
    assert l2.from_unit(0.25) == 1e-6
    assert l2.from_unit(0.625) == 1e-4
    assert l2.from_unit(l2.to_unit(0.0)) == 0.0
    assert 0.0 < l2.to_unit(0.0) < 0.25
    assert l2.grid(3) == [0.0, 1e-6, 1e-2]


def test_steps_are_counted_in_decimals_and_may_miss_the_upper_end() -> None:
    assert Float(0, 1, step=0.1).grid(99) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert Int(6, 13, step=3).grid(99) == [6, 9, 12]
    assert Int(6, 13, step=3).extremes == (6, 12)


def test_with_log_a_step_is_a_factor() -> None:
    assert Int(16, 128, log=True, step=2).grid(99) == [16, 32, 64, 128]
    assert Float(1e-4, 1e-1, log=True, step=10).grid(99) == [1e-4, 1e-3, 1e-2, 1e-1]
    with pytest.raises(InvalidSpace, match="64"):
        Int(16, 128, log=True, step=2).validate(63)


def test_a_grid_has_about_as_many_points_as_asked_with_both_ends() -> None:
    assert Float(0, 1).grid(3) == [0.0, 0.5, 1.0]
    assert Int(1, 100).grid(2) == [1, 100]
    assert Int(1, 3).grid(9) == [1, 2, 3]
    assert Int(1, 256, log=True).grid(3) == [1, 16, 256]
    assert Int(1, 4, log=True).grid(1) == [2]
    assert Choice(["a", "b", "c"]).grid(1) == ["a", "b", "c"]
    assert Fixed(3).grid(9) == [3]


@pytest.mark.parametrize(
    ("domain", "count"),
    [
        (Int(1, 3), 3),
        (Int(16, 256, log=True), 241),
        (Int(16, 128, log=True, step=2), 4),
        (Float(0, 1, step=0.1), 11),
        (Float(1e-4, 1e-1, log=True, step=10), 4),
        (Choice(["a", "b"]), 2),
        (Fixed(3), 1),
    ],
)
def test_a_domain_knows_how_many_values_it_has(domain: Domain, count: int) -> None:
    assert domain.count == count == len(domain.grid(count))
    assert Float(0, 1).count is Float(1, 2, log=True).count is Lambda().count is None


def test_numbers_of_other_libraries_become_plain() -> None:
    numpy = pytest.importorskip("numpy")
    assert type(Int(1, 9).snap(numpy.int64(3))) is int
    assert type(Float(numpy.float32(0), 1).low) is float
    assert type(Choice([numpy.int64(1), 2]).options[0]) is int
    assert math.copysign(1, Float(-1, 1).snap(-0.0)) == 1  # type: ignore[arg-type]


def test_true_is_not_one() -> None:
    with pytest.raises(InvalidSpace):
        Choice([1, 2]).validate(True)
    with pytest.raises(InvalidSpace):
        Choice([True, False]).validate(1)
    with pytest.raises(InvalidSpace):
        Int(0, 1).validate(True)
    Float(0, 2).validate(1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Int(8, 4), "`low` is 8, above high = 4"),
        (lambda: Float(2, 2), "`low` is 2, equal to high; to fix the value write {type: fixed, value: 2}"),
        (lambda: Float(1, 1 + 1e-12), "too close to high"),
        (lambda: Float(0, 1, log=True), "`low` is 0; expected a positive number"),
        (lambda: Int(0, 8, log=True), "expected at least 1"),
        (lambda: Float(math.nan, 1), "`low` is nan; expected a finite number"),
        (lambda: Float(0, math.inf), "`high` is inf; expected a finite number"),
        (lambda: Float(-1.7e308, 1.7e308), "that a floating-point number can span"),
        (lambda: Int(0, 10**18), "`high` is 1000000000000000000"),
        (lambda: Int(0, 8, step=0), "`step` is 0; expected a positive number"),
        (lambda: Int(0, 8, step=9), "expected at most high - low = 8"),
        (lambda: Float(0, 1, step=-0.5), "`step` is -0.5"),
        (lambda: Float(0, 1, step=1e-12), "leave the step out"),
        (lambda: Int(16, 64, log=True, step=8), "expected a smaller factor"),
        (lambda: Float(1, 64, log=True, step=1), "above 1"),
        (lambda: Int(1.0, 4), "`low` is 1.0; expected a whole number. Write 1."),  # type: ignore[arg-type]
        (lambda: Int(True, 4), "`low` is true (YAML"),
        (lambda: Float("1e-3", 1), "`low` is the text '1e-3'; expected a number. YAML reads it as text: write 1.0e-3."),  # type: ignore[arg-type]
        (lambda: Float(None, 1), "`low` is empty (null)"),  # type: ignore[arg-type]
        (lambda: Float(0, 1, log="yes"), "`log` is the text 'yes'; expected true or false"),  # type: ignore[arg-type]
        (lambda: Choice([]), "is empty; expected a list of at least two values"),
        (lambda: Choice(["a"]), "has one value, 'a'; expected at least two"),
        (lambda: Choice("relu"), "is the text 'relu'; expected a list"),
        (lambda: Choice(["a", "b", "a"]), "`options[2]` is 'a', which repeats"),
        (lambda: Choice([1, True]), "`options[1]` is True, which equals 1 for a sampler"),
        (lambda: Choice([1, 1.0]), "`options[1]` is 1.0, which"),
        (lambda: Choice([1.0, math.nan]), "`options[1]` is nan; expected a finite number"),
        (lambda: Choice([1, [2]]), "`options[1]` is the list [2]"),  # type: ignore[list-item]
        (lambda: Fixed(math.inf), "`value` is inf"),
        (lambda: Fixed(10**5000), "`value` is a number of 16610 bits; expected a finite number"),
        (lambda: Choice([1, 10**400]), "`options[1]` is a number of 1329 bits"),
        (lambda: Int(0, 10**400), "`high` is a number of 1329 bits"),
        (lambda: Fixed({}), "`value` is a mapping"),  # type: ignore[arg-type]
        (lambda: Lambda(0, 0.1), "`low` is 0; expected a positive number such as 1.0e-7"),
        (lambda: Lambda(1e-7, 1e-1, zero=0), "`zero` is 0; expected the share of zero"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_sentence(make: Any, said: str) -> None:
    with pytest.raises(InvalidSpace) as caught:
        make()
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def test_all_mistakes_of_a_range_are_told_at_once() -> None:
    with pytest.raises(InvalidSpace) as caught:
        Float("a", math.inf, step=math.nan, log=1)  # type: ignore[arg-type]
    assert [mistake.path for mistake in caught.value.mistakes] == ["low", "high", "step", "log"]
    assert copy.deepcopy(caught.value).problems == caught.value.problems


@pytest.mark.parametrize("u", [-0.001, 1.001, math.nan])
def test_a_place_outside_the_unit_interval_is_refused(u: float) -> None:
    for domain in (Float(0, 1), Int(1, 9), Choice(["a", "b"]), Lambda()):
        with pytest.raises(InvalidSpace, match="from 0 to 1"):
            domain.from_unit(u)


@pytest.mark.parametrize("value", [None, "x", True, math.nan, math.inf, [], 11, -1, 10**400])
def test_a_value_outside_is_refused(value: Any) -> None:
    for domain in (Float(1, 10), Int(1, 10), Choice([1, 10]), Fixed(1), Lambda(1, 10)):
        assert domain.problem(value) is not None, domain
        with pytest.raises(InvalidSpace):
            domain.to_unit(value)
