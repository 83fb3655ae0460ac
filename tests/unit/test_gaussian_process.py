"""What the `gp` sampler is made of, held to formulas and brute force: regression, expected improvement, encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from search_spaces import Choice, Fixed, Float, Int, Lambda, Space
from tests.histories import BRANCHED, FLAT
from tuner.samplers.encoding import Encoding, Floats, keys
from tuner.samplers.expected_improvement import log_expected_improvement
from tuner.samplers.gaussian_process import Hyperparameters, Loss, Posterior, compressed, fit
from tuner.samplers.one_thread import one_thread
from tuner.samplers.points import random_point

GROUPS = [0, 1, 1, 2]  # four columns of three parameters
LOGS = [0.3, -0.8, 1.1, 0.4, -2.0]


def data(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(seed)
    features = draw.random((rows, 4))
    return features, np.sin(5 * features[:, 0]) + features[:, 1] + 0.1 * draw.normal(size=rows)


def matern(left: Floats, right: Floats, logs: list[float]) -> Floats:
    """The kernel by its definition, one pair at a time."""
    lengths = np.exp(np.array(logs)[GROUPS])
    result = np.empty((len(left), len(right)))
    for i, one in enumerate(left):
        for j, two in enumerate(right):
            r = np.sqrt((((one - two) / lengths) ** 2).sum())
            result[i, j] = np.exp(logs[-2]) * (1 + 5**0.5 * r + 5 * r**2 / 3) * np.exp(-(5**0.5) * r)
    return result


def test_the_loss_is_the_negative_log_posterior_of_the_hyperparameters() -> None:
    features, targets = data(12)

    def direct(logs: list[float]) -> float:
        covariance = matern(features, features, logs) + np.exp(logs[-1]) * np.eye(12)
        likelihood = -0.5 * targets @ np.linalg.solve(covariance, targets) - 0.5 * np.linalg.slogdet(covariance)[1]
        priors = [*((value, 0.0, 1.0) for value in logs[:-2]), (logs[-2], 0.0, 0.7), (logs[-1], -2.5, 1.2)]
        return float(-likelihood + sum(0.5 * ((value - mean) / deviation) ** 2 for value, mean, deviation in priors))

    loss = Loss(features, GROUPS, targets)
    other = [0.0, 0.5, -0.5, -0.2, -3.0]
    ours = loss(np.array(LOGS))[0] - loss(np.array(other))[0]
    assert ours == pytest.approx(direct(LOGS) - direct(other), abs=1e-6)


@pytest.mark.parametrize("logs", [LOGS, [-1.0, 2.0, 0.0, -1.0, -6.0]])
def test_its_gradient_is_that_of_finite_differences(logs: list[float]) -> None:
    features, targets = data(25)
    loss = Loss(features, GROUPS, targets)
    _, gradient = loss(np.array(logs))
    for k in range(len(logs)):
        step = np.eye(len(logs))[k] * 1e-5
        difference = (loss(np.array(logs) + step)[0] - loss(np.array(logs) - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(difference, rel=1e-5, abs=1e-5)


def test_the_posterior_is_the_one_of_the_textbook() -> None:
    features, targets = data(20)
    asked = data(7, seed=1)[0]
    inverse = np.linalg.inv(matern(features, features, LOGS) + np.exp(LOGS[-1]) * np.eye(20))
    cross = matern(asked, features, LOGS)
    mean, covariance = cross @ inverse @ targets, matern(asked, asked, LOGS) - cross @ inverse @ cross.T
    posterior = Posterior(features, GROUPS, targets, np.empty((0, 4)), Hyperparameters(LOGS))
    ours = posterior.predict(asked)
    assert ours[0] == pytest.approx(mean, abs=1e-5)
    assert ours[1] == pytest.approx(covariance.diagonal(), abs=1e-5)
    means, covariances, absent = posterior.together([asked[:3], asked, asked[2:]])
    assert absent.sum(axis=1).tolist() == [4, 0, 2]
    for group, rows in enumerate([slice(0, 3), slice(0, 7), slice(2, 7)]):
        there = ~absent[group]
        assert means[group, there] == pytest.approx(mean[rows], abs=1e-5)
        assert covariances[group][np.ix_(there, there)] == pytest.approx(covariance[rows, rows], abs=1e-5)
    assert posterior.means == pytest.approx(posterior.predict(features)[0], abs=1e-5)


def test_a_point_under_trial_counts_as_observed_at_its_mean() -> None:
    features, targets = data(20)
    pending, asked = data(3, seed=2)[0], data(30, seed=1)[0]
    before = Posterior(features, GROUPS, targets, np.empty((0, 4)), Hyperparameters(LOGS))
    believed = np.concatenate([targets, before.predict(pending)[0]])
    told = Posterior(np.vstack([features, pending]), GROUPS, believed, np.empty((0, 4)), Hyperparameters(LOGS))
    ours = Posterior(features, GROUPS, targets, pending, Hyperparameters(LOGS))
    assert ours.predict(asked)[0] == pytest.approx(before.predict(asked)[0], abs=1e-5)
    assert ours.predict(asked)[0] == pytest.approx(told.predict(asked)[0], abs=1e-5)
    assert ours.predict(asked)[1] == pytest.approx(told.predict(asked)[1], abs=1e-5)
    assert (ours.predict(asked)[1] < before.predict(asked)[1]).all()


def test_a_fit_finds_the_parameters_that_matter_and_the_noise() -> None:
    features, targets = data(120)
    targets = (targets - targets.mean()) / targets.std()
    found = fit(features, GROUPS, targets, Hyperparameters.usual(3))
    assert found.lengths[0] < 1.0
    assert found.lengths[2] > 3 * found.lengths[0]
    assert 0.003 < found.noise < 0.1
    assert Hyperparameters(found.logs.tolist()).logs.tolist() == found.logs.tolist()
    again = fit(features, GROUPS, targets, found)
    assert Loss(features, GROUPS, targets)(again.logs)[0] <= Loss(features, GROUPS, targets)(found.logs)[0] + 1e-4


def test_equal_rows_and_hardly_any_noise_are_no_problem() -> None:
    features = np.vstack([np.zeros((30, 4)), np.full((30, 4), 1e-9)])
    at = Hyperparameters([4.0, 4.0, 4.0, 4.0, -9.0])
    posterior = Posterior(features, GROUPS, np.linspace(-1, 1, 60), features, at)
    assert np.isfinite(posterior.predict(data(9)[0])).all()
    assert np.isfinite(fit(features, GROUPS, np.linspace(-1, 1, 60), at).logs).all()


def test_targets_keep_the_order_of_the_good_ones_and_flatten_the_bad_ones() -> None:
    values = np.array([3.0, 1.0, 2.0, 1.5, 1e6, 7e5, 2.5])
    targets = compressed(values)
    assert np.argsort(targets, kind="stable").tolist()[:5] == [1, 3, 2, 6, 0]
    assert targets[4] == targets[5]  # both beyond twice the median's distance from the best
    assert targets.mean() == pytest.approx(0, abs=1e-12)
    assert targets.std() == pytest.approx(1)
    assert compressed(10 * values - 3) == pytest.approx(targets)  # whatever the unit of the objective


@pytest.mark.parametrize(
    "values", [[2.0] * 5, [2.0] * 5 + [3.0], [1e308, -1e308, 0.0], [1e-320, 0.0, 2e-320], [5.0], [1.0, 1.0 + 1e-16]]
)
def test_targets_are_finite_whatever_the_values(values: list[float]) -> None:
    assert np.isfinite(compressed(np.array(values))).all()


def test_linear_algebra_takes_one_thread_while_it_is_asked_to() -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with one_thread():
        assert set(threads()) == {1}
    assert threads() == before
    assert len(before) == 2  # NumPy's and SciPy's


def expected(mean: float, deviation: float, best: float) -> float:
    """The expected improvement by adding up what every outcome is worth."""
    outcomes = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 400_001)
    density = np.exp(-0.5 * ((outcomes - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    return float(np.sum(np.maximum(best - outcomes, 0) * density) * (outcomes[1] - outcomes[0]))


@pytest.mark.parametrize("z", [3.0, 0.4, 0.0, -0.99, -1.01, -3.0, -6.0])
def test_the_expected_improvement_is_the_one_that_is_expected(z: float) -> None:
    ours = log_expected_improvement(np.array([1.0]), np.array([0.25]), 1.0 + 0.5 * z)
    assert ours[0] == pytest.approx(np.log(expected(1.0, 0.5, 1.0 + 0.5 * z)), abs=1e-5)


def test_its_logarithm_falls_smoothly_where_nothing_can_be_expected() -> None:
    z = -np.logspace(0, 5, 400)
    logs = log_expected_improvement(-z, np.ones_like(z), 0.0)
    assert np.isfinite(logs).all()
    assert (np.diff(logs) < 0).all()
    steep = z[z < -20]  # there log EI is -z^2 / 2 - 2 log |z| - log(2 pi) / 2 - 3 / z^2, nearly
    series = -0.5 * steep**2 - 2 * np.log(-steep) - 0.5 * np.log(2 * np.pi) - 3 / steep**2
    assert logs[z < -20] == pytest.approx(series, rel=1e-6)


@pytest.mark.parametrize("space", [FLAT, BRANCHED], ids=["flat", "branched"])
def test_a_point_keeps_its_places(space: Space) -> None:
    encoding = Encoding(space)
    places = encoding.snapped(np.random.default_rng(0).random((300, len(encoding.names))))
    points = [encoding.point(row) for row in places]
    for row, point in zip(places, points, strict=True):
        space.validate(point)
        assert encoding.places(point) == pytest.approx(row, abs=1e-8)
    active = encoding.active(places)
    for row, point in zip(active, points, strict=True):
        assert {name for name, on in zip(encoding.names, row, strict=True) if on} == set(point) & set(space.free)
    assert len(set(keys(places))) == len({str(point) for point in points})


def test_only_what_is_active_keeps_points_apart() -> None:
    encoding = Encoding(BRANCHED)
    column = encoding.names.index

    def features(**places: float) -> Floats:
        row = np.full((1, len(encoding.names)), 0.3)
        for name, place in places.items():
            row[0, column(name)] = place
        return encoding.features(encoding.snapped(row))

    assert (features(optimizer=0.2, momentum=0.1) == features(optimizer=0.2, momentum=0.9)).all()  # adam
    assert (features(optimizer=0.7, momentum=0.1) != features(optimizer=0.7, momentum=0.9)).any()  # sgd
    apart = features(optimizer=0.2, layers=0.1) - features(optimizer=0.7, layers=0.1)
    assert (apart[0, encoding.groups == column("optimizer")] ** 2).sum() == pytest.approx(1)  # two options


def test_drawn_places_give_every_value_its_share() -> None:
    domains: dict[str, Any] = {"l2": Lambda(zero=0.3), "depth": Int(1, 4), "one": Fixed(1)}
    domains["rate"] = Float(0, 1)
    domains["kind"] = Choice(["a", "b", "c"])
    encoding = Encoding(Space(domains))
    places = encoding.snapped(np.random.default_rng(1).random((3000, 4)))
    points = [encoding.point(row) for row in places]
    assert sum(point["l2"] == 0.0 for point in points) / 3000 == pytest.approx(0.3, abs=0.03)
    for depth in (1, 2, 3, 4):
        assert sum(point["depth"] == depth for point in points) / 3000 == pytest.approx(0.25, abs=0.03)
    for kind in "abc":
        assert sum(point["kind"] == kind for point in points) / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_a_move_changes_what_it_may_and_reaches_the_neighbours_of_small_ranges() -> None:
    encoding = Encoding(FLAT)
    row = encoding.places(random_point(FLAT, 1))
    which = encoding.columns(["depth", "activation"])
    moved = encoding.moved(np.repeat(row[None], 200, axis=0), which, 0.01, np.random.default_rng(0))
    assert (moved[:, ~which] == row[~which]).all()
    assert len({encoding.point(places)["depth"] for places in moved}) >= 3
    assert len({encoding.point(places)["activation"] for places in moved}) == 3
    assert ((moved >= 0) & (moved <= 1)).all()
