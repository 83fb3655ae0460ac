"""Gaussian process regression: a smooth guess at the objective everywhere, with how unsure it is.

A Matern 5/2 kernel with a length scale per parameter, over the features of encoding.py (Rasmussen and Williams
2006, "Gaussian Processes for Machine Learning", sections 2.2, 4.2 and 5.4.1). The length scales, the signal and the
noise are the most probable ones under weak priors, found by L-BFGS with exact gradients. NumPy and SciPy are all it
needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from tuner.samplers.encoding import Flags, Floats, squares

FIT_STEPS = 15  # most steps of L-BFGS
LEAST_VARIANCE = 1e-12  # of a prediction, which rounding may have made negative
_JITTER = 1e-8  # of the signal variance, on the diagonal
_LARGEST = 1e100  # objectives beyond this are as bad as this

# Means and standard deviations of the normal priors over the logarithms, and the bounds of the search.
_LENGTH, _SIGNAL, _NOISE = (0.0, 1.0), (0.0, 0.7), (-2.5, 1.2)
_BOUNDS = ((-4.0, 4.0), (-4.0, 4.0), (-9.0, 2.0))


def compressed(values: Floats) -> Floats:
    """Objectives to minimize as targets for the regression: the good ones spread, the bad ones close together.

    log(min(y, m + 2 (m - b)) - b + (m - b) / 2) for the median m and the smallest b, standardised. What is worse than
    twice the median's distance is all the same, and the differences among the best are what a search is about.
    """
    y = np.clip(values, -_LARGEST, _LARGEST)
    best = y.min()
    half = float(np.median(y) - best) or float(y.mean() - best)
    if half <= 0.0:
        return np.zeros_like(y)
    shaped = np.log(np.minimum(y - best, 3.0 * half) + 0.5 * half)
    return np.asarray((shaped - shaped.mean()) / (shaped.std() or 1.0))


class Hyperparameters:
    """Of the kernel, as logarithms: a length scale per parameter, the variance of the signal and of the noise."""

    def __init__(self, logs: Sequence[float]) -> None:
        self.logs = np.asarray(logs, dtype=float)
        self.lengths = np.exp(self.logs[:-2])
        self.signal, self.noise = float(np.exp(self.logs[-2])), float(np.exp(self.logs[-1]))

    @classmethod
    def usual(cls, parameters: int) -> Hyperparameters:
        """The most probable ones before anything was observed."""
        return cls([*[_LENGTH[0]] * parameters, _SIGNAL[0], _NOISE[0]])


def fit(features: Floats, groups: Any, targets: Floats, start: Hyperparameters) -> Hyperparameters:
    """The most probable hyperparameters, by at most `FIT_STEPS` steps from `start`.

    Args:
        features: a row per observation.
        groups: for each column of `features` the parameter it belongs to; the columns of one share a length scale.
        targets: one per row, standardised.
        start: where the search begins.
    """
    from scipy.optimize import minimize  # 0.4 s, which the first trials need not wait for

    loss = Loss(features, groups, targets)
    bounds = [_BOUNDS[0]] * (len(start.logs) - 2) + [_BOUNDS[1], _BOUNDS[2]]
    found = minimize(loss, start.logs, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": FIT_STEPS})
    return Hyperparameters(np.round(found.x, 6).tolist())  # as it is stored: what comes back from JSON is the same


class Loss:
    """Minus the log of the posterior probability of hyperparameters, but for a constant, and its gradient."""

    def __init__(self, features: Floats, groups: Any, targets: Floats) -> None:
        self._x, self._groups, self._y = features, np.asarray(groups), targets
        parameters = int(self._groups.max()) + 1
        self._means = np.array([*[_LENGTH[0]] * parameters, _SIGNAL[0], _NOISE[0]])
        self._deviations = np.array([*[_LENGTH[1]] * parameters, _SIGNAL[1], _NOISE[1]])

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        at = Hyperparameters(logs.tolist())
        scaled = self._x / at.lengths[self._groups]
        kernel, slope = _matern_and_slope(squares(scaled, scaled))
        factor = _cholesky(at.signal * kernel, at.noise + _JITTER * at.signal)
        inverse = lapack.dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        alpha = inverse @ self._y
        away = (logs - self._means) / self._deviations
        loss = 0.5 * self._y @ alpha + np.log(factor.diagonal()).sum() + 0.5 * away @ away
        # d loss / d K = (K^-1 - alpha alpha^T) / 2, and every gradient is the sum of its product with d K.
        weight = 0.5 * (inverse - np.outer(alpha, alpha))
        own = np.trace(weight)
        signal = at.signal * (float(np.vdot(weight, kernel)) + _JITTER * own)
        pull = weight * slope * at.signal
        columns = 2.0 * (pull.sum(axis=1) @ scaled**2 - np.einsum("ij,ij->j", scaled, pull @ scaled))
        lengths = -2.0 * np.bincount(self._groups, columns, minlength=len(logs) - 2)
        gradient = np.array([*lengths, signal, at.noise * own]) + away / self._deviations
        return float(loss), gradient


class Posterior:
    """What is believed about the objective, given targets at some points, and more points that are being tried.

    A point under trial counts as observed at its expected value ("Kriging believer": Ginsbourger, Le Riche and Carraro
    2010, "Kriging is well-suited to parallelize optimization", section 4.2): that changes no expectation, only how sure
    the model is around it.

    It is made in double precision and answers in single precision, which takes a proposal two thirds of the time. What
    that adds, about 1e-6 of the signal's variance, is far below the noise.
    """

    def __init__(self, features: Floats, groups: Any, targets: Floats, pending: Floats, at: Hyperparameters) -> None:
        self._at, self._inverse_lengths = at, 1.0 / at.lengths[np.asarray(groups)]
        self._known = len(targets)
        self._x = np.vstack([features, pending]) * self._inverse_lengths
        kernel = at.signal * _matern(squares(self._x, self._x))
        self._factor = _cholesky(kernel, at.noise + _JITTER * at.signal)
        # The leading block of the factor is the factor of the points that have a target.
        self._alpha = lapack.dpotrs(self._factor[: self._known, : self._known], targets, lower=1)[0]
        self.means = kernel[:, : self._known] @ self._alpha  # at the points it was made of
        self._factor, self._alpha = self._factor.astype(np.float32), self._alpha.astype(np.float32)
        self.noise = at.noise

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the objective without its noise, one of each per row."""
        mean, halves = self._halves(features)
        return mean, np.maximum(self._at.signal - np.einsum("ij,ij->j", halves, halves), LEAST_VARIANCE)

    def together(self, groups: Sequence[Floats]) -> tuple[Floats, Floats, Flags]:
        """Mean (groups, rows) and covariance (groups, rows, rows) of the objective without its noise, group by group.

        Groups that are shorter than the longest end with rows that the last result, (groups, rows), marks as absent.
        """
        lengths = [len(features) for features in groups]
        rows = max(lengths)
        absent = np.arange(rows) >= np.array(lengths)[:, None]
        features = np.vstack([np.pad(group, ((0, rows - len(group)), (0, 0)), mode="edge") for group in groups])
        means, halves = self._halves(features)
        halves = halves.T.reshape(len(groups), rows, -1)
        scaled = (features * self._inverse_lengths).reshape(len(groups), rows, -1)
        apart = np.stack([squares(own, own) for own in scaled])
        covariance = self._at.signal * _matern(apart.astype(np.float32)) - halves @ halves.transpose(0, 2, 1)
        return means.reshape(len(groups), rows), covariance, absent

    def _halves(self, features: Floats) -> tuple[Floats, Floats]:
        cross = self._cross(features)
        halves = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        return cross[: self._known].T @ self._alpha, halves

    def _cross(self, features: Floats) -> Floats:
        # The distances need double precision: they are differences of larger numbers.
        apart = squares(self._x, features * self._inverse_lengths).astype(np.float32)
        return np.asarray(self._at.signal * _matern(apart))


def _matern(apart: NDArray[Any]) -> NDArray[Any]:
    """Correlations at squared distances, in their precision."""
    root = np.sqrt(5.0 * apart)
    return np.asarray((1.0 + root + root * root / 3.0) * np.exp(-root))


def _matern_and_slope(apart: Floats) -> tuple[Floats, Floats]:
    """Correlations at squared distances, and their derivatives by the squared distance."""
    root = np.sqrt(5.0 * apart)
    decay = np.exp(-root)
    linear = (1.0 + root) * decay
    return linear + root * root / 3.0 * decay, -5.0 / 6.0 * linear


def _cholesky(kernel: Floats, diagonal: float) -> Floats:
    """The lower factor of the kernel with this much more on its diagonal."""
    kernel = kernel + diagonal * np.eye(len(kernel))
    factor, problem = lapack.dpotrf(kernel, lower=1, clean=1)
    if problem:  # rounding made it indefinite: the noise is far below what doubles can tell beside the signal
        return _cholesky(kernel, 1e-4 * float(kernel[0, 0]))
    return np.asarray(factor)
