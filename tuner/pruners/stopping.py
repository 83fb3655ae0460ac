"""Which trials are stopped before their last epoch, and why.

A rule is pure: its decision depends on the objectives it is given or was told, never on a clock, a random
state or the order in which other trials were told. The decision carries the threshold, the rivals it was taken
against and a sentence, so that `tuner trial explain 17` reads a row.

Optuna has these rules too, inside pruners that keep notes in its own storage and answer yes or no. They are
written out here for the sake of the explanation; tests/unit/test_stopping.py holds every verdict against Optuna's
`SuccessiveHalvingPruner`, `HyperbandPruner`, `MedianPruner` and `PercentilePruner`. On purpose different are:

- Epoch 1 is never judged (a grace of 1 is taken as 2): an untrained model's objective says little, and judging
  it cost five points of quality on one of the measured sets. The last epoch is not judged either: nothing is
  left to save, and the trial counts as complete.
- An objective that is not finite at a decision ends the trial under every rule, and is nobody's rival.
  Optuna takes plus infinity for the best value under `maximize`.
- `median` and `percentile` compare with every trial that reached the epoch, not with completed ones only, so
  that parallel trials can be judged before the first one has run all its epochs.
- A bracket of `hyperband` comes from the trial's number by an even spread instead of a hash of the study's name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuner.errors import InvalidInput
from tuner.pruners.rungs import Direction, Rivals, Rung

RULES = ("asha", "hyperband", "median", "percentile", "none")

SHOWN_RIVALS = 8  # of those compared with, so many are kept on the decision's row, the best ones


@dataclass(frozen=True)
class Decision:
    """What a rule says about one trial at one epoch."""

    action: Literal["continue", "stop", "spare"]  # spare: it would be stopped, and goes on, see audit.py
    rule: str  # one of RULES
    epoch: int  # epochs the trial has finished
    value: float | None  # the objective that was compared; None: nothing was, or it is not finite
    threshold: float | None  # as good as this, or better, goes on; None: every trial would go on
    rivals: tuple[tuple[int, float], ...]  # (trial number, objective) of the best rivals, at most SHOWN_RIVALS
    reason: str  # one sentence for a person


class Rule(ABC):
    """When decisions are due, and what they are. Make one with `rule`.

    Args:
        epochs: most epochs of a trial. It is never judged there.
        direction: which objective is better.
    """

    name: str

    def __init__(self, epochs: int, direction: Direction) -> None:
        self.epochs = epochs
        self.direction = direction
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._rungs: dict[tuple[int, int], Rung] = {}

    @abstractmethod
    def next_rung(self, number: int, epoch: int) -> int:
        """The next epoch after `epoch` at which a decision about trial `number` is due; at most `epochs`."""

    def bracket(self, number: int) -> int:  # noqa: ARG002 - only hyperband has more than one
        """Trials are compared within their bracket only."""
        return 0

    def due(self, number: int, epoch: int) -> bool:
        """Whether trial `number` is judged when it has finished `epoch` epochs."""
        return 0 < epoch < self.epochs and self.next_rung(number, epoch - 1) == epoch

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Remember a trial's objective for later decisions. Saying the same again changes nothing."""
        if self.due(number, epoch):
            key = self.bracket(number), epoch
            self._rungs.setdefault(key, Rung(self.direction)).set(number, value)

    def decide(
        self,
        number: int,
        epoch: int,
        curve: Mapping[int, float],
        rivals: Mapping[int, Mapping[int, float]] | None = None,
    ) -> Decision:
        """Whether trial `number` goes on after `epoch` epochs.

        Args:
            curve: the trial's own objective by epoch.
            rivals: the other trials' curves by their number. None: the ones that `observe` was told, which costs
                a lookup instead of a pass over all trials.
        """
        if not self.due(number, epoch):
            reason = f"No decision about trial {number} was due at epoch {epoch}."
            return Decision("continue", self.name, epoch, None, None, (), reason)
        if not math.isfinite(curve.get(epoch, math.nan)):
            reason = f"Stopped at epoch {epoch}: its objective is {curve.get(epoch)}, which cannot become the best."
            return Decision("stop", self.name, epoch, None, None, (), reason)
        rung = self._remembered(number, epoch) if rivals is None else self._given(number, epoch, rivals)
        value = self._compared(curve, epoch)
        threshold, standard = self._threshold(rung.without(number))
        return self._verdict(epoch, value, threshold, standard, rung.without(number))

    @abstractmethod
    def _threshold(self, rivals: Rivals) -> tuple[float | None, str]:
        """The objective that a trial needs to go on among these rivals, and what it is, in words."""

    def _compared(self, curve: Mapping[int, float], epoch: int) -> float:
        return curve[epoch]

    def _remembered(self, number: int, epoch: int) -> Rung:
        return self._rungs.get((self.bracket(number), epoch)) or Rung(self.direction)

    def _given(self, number: int, epoch: int, rivals: Mapping[int, Mapping[int, float]]) -> Rung:
        rung = Rung(self.direction)
        for other, curve in rivals.items():
            if other != number and epoch in curve and self.bracket(other) == self.bracket(number):
                rung.set(other, curve[epoch])
        return rung

    def _verdict(self, epoch: int, value: float, threshold: float | None, standard: str, rivals: Rivals) -> Decision:
        shown = rivals.best(SHOWN_RIVALS)
        if threshold is None:
            reason = f"Went on at epoch {epoch} with {value:.6g}: {standard}."
            return Decision("continue", self.name, epoch, value, None, shown, reason)
        good = self._sign * value <= self._sign * threshold
        action: Literal["continue", "stop"] = "continue" if good else "stop"
        words = ("Went on", "at least as good as") if good else ("Stopped", "worse than")
        reason = f"{words[0]} at epoch {epoch}: {value:.6g} is {words[1]} {threshold:.6g}, {standard}."
        return Decision(action, self.name, epoch, value, threshold, shown, reason)


class SuccessiveHalving(Rule):
    """ASHA in its stopping form (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning").

    Rungs lie at `grace * eta**k` epochs. At a rung the best 1/eta of the trials that reached it so far go on,
    and at least the best one.
    """

    name = "asha"

    def __init__(self, epochs: int, direction: Direction, grace: int, eta: int) -> None:
        super().__init__(epochs, direction)
        self.grace, self.eta = max(2, grace), eta

    def next_rung(self, number: int, epoch: int) -> int:
        rung = self.grace * int(self.eta ** self.bracket(number))
        while rung <= epoch:
            rung *= self.eta
        return min(rung, self.epochs)

    def _threshold(self, rivals: Rivals) -> tuple[float | None, str]:
        reached = len(rivals) + 1
        kept = max(1, reached // self.eta)
        if len(rivals) < kept:
            return None, "it is the first trial to get there"
        among = f"among the {kept} best" if kept > 1 else "the best"
        return rivals[kept - 1][1], f"what it takes to be {among} of {reached} trials that got there"


class Hyperband(SuccessiveHalving):
    """Brackets of ASHA (Li et al. 2018): later brackets give their trials `eta` times the grace of the one before.

    Brackets get the shares of trials that the paper gives them; a trial's bracket follows from its number.
    """

    name = "hyperband"

    def __init__(self, epochs: int, direction: Direction, grace: int, eta: int, seed: int) -> None:
        super().__init__(epochs, direction, grace, eta)
        last = 0
        while self.grace * eta ** (last + 1) <= epochs:
            last += 1
        shares = [math.ceil((last + 1) * eta**s / (s + 1)) for s in range(last, -1, -1)]
        self._ends = [sum(shares[: i + 1]) / sum(shares) for i in range(len(shares))]
        self._offset = (seed * math.sqrt(2)) % 1.0

    def bracket(self, number: int) -> int:
        # Steps of the golden ratio spread any run of numbers evenly over the brackets.
        place = (self._offset + number * (math.sqrt(5) - 1) / 2) % 1.0
        return next((i for i, end in enumerate(self._ends) if place < end), len(self._ends) - 1)


class Percentile(Rule):
    """A trial goes on while its best objective so far is within the best `percentile` percent of its rivals'.

    Judged after every epoch from `grace` on, once `warmup_trials` others have reached that epoch. `median` is
    the rule at 50 percent (Golovin et al. 2017, "Google Vizier").
    """

    def __init__(
        self, name: str, epochs: int, direction: Direction, grace: int, percentile: float, warmup_trials: int
    ) -> None:
        super().__init__(epochs, direction)
        self.name = name
        self.grace, self.percentile, self.warmup_trials = max(2, grace), percentile, warmup_trials

    def next_rung(self, number: int, epoch: int) -> int:  # noqa: ARG002 - the same for every trial
        return min(max(epoch + 1, self.grace), self.epochs)

    def _compared(self, curve: Mapping[int, float], epoch: int) -> float:
        values = [value for at, value in curve.items() if at <= epoch and math.isfinite(value)]
        return min(values) if self.direction == "minimize" else max(values)

    def _threshold(self, rivals: Rivals) -> tuple[float | None, str]:
        count = len(rivals)
        if count < self.warmup_trials:
            return None, f"{count} of the {self.warmup_trials} other trials that a judgement needs got there so far"
        what = "the median" if self.name == "median" else f"the best {self.percentile:g} percent"
        return self._interpolated(rivals), f"{what} of {count} other trials at that epoch"

    def _interpolated(self, rivals: Rivals) -> float:
        """NumPy's linear percentile, in its order of operations, over values that are sorted already."""
        rising = self.direction == "minimize"
        place = (len(rivals) - 1) * ((self.percentile if rising else 100.0 - self.percentile) / 100.0)
        below = math.floor(place)
        above, part = min(below + 1, len(rivals) - 1), place - below
        low, high = (rivals[i if rising else len(rivals) - 1 - i][1] for i in (below, above))
        return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


class Never(Rule):
    """Every trial runs all its epochs."""

    name = "none"

    def next_rung(self, number: int, epoch: int) -> int:  # noqa: ARG002
        return self.epochs

    def _threshold(self, rivals: Rivals) -> tuple[float | None, str]:  # noqa: ARG002
        return None, "no rule stops trials in this study"


def rule(
    name: str,
    *,
    epochs: int,
    direction: Direction,
    seed: int = 0,
    grace: int = 2,
    eta: int = 4,
    percentile: float = 25.0,
    warmup_trials: int = 5,
) -> Rule:
    """The rule called `name`.

    Args:
        name: one of `RULES`.
        epochs: most epochs of a trial.
        direction: "minimize" or "maximize".
        seed: of the study; places `hyperband`'s brackets.
        grace: epochs before a trial is judged for the first time; 1 is taken as 2.
        eta: `asha` and `hyperband` keep one of so many trials at each rung.
        percentile: `percentile` keeps trials within this share of the best, 0 to 100.
        warmup_trials: `median` and `percentile` need so many other trials at an epoch, at least 1.

    Raises:
        InvalidInput: an unknown name, or numbers with which nothing could ever be decided.
    """
    if name not in RULES:
        raise InvalidInput(f"The pruner is {name!r}; expected one of {', '.join(RULES)}.")
    if name == "none":
        return Never(epochs, direction)
    _check(epochs, grace, eta, percentile, warmup_trials)
    if name == "asha":
        return SuccessiveHalving(epochs, direction, grace, eta)
    if name == "hyperband":
        return Hyperband(epochs, direction, grace, eta, seed)
    return Percentile(name, epochs, direction, grace, 50.0 if name == "median" else percentile, warmup_trials)


def _check(epochs: int, grace: int, eta: int, percentile: float, warmup_trials: int) -> None:
    if grace < 1 or grace >= epochs:
        raise InvalidInput(
            f"The grace is {grace} epochs and a trial has {epochs}: no trial could ever be pruned; "
            "expected at least 1 and fewer than a trial's epochs, or the pruner 'none'."
        )
    if eta < 2:
        raise InvalidInput(f"eta is {eta}; expected 2 or more: of so many trials at a rung, one goes on.")
    if not 0 <= percentile <= 100:
        raise InvalidInput(f"The percentile is {percentile}; expected 0 to 100: the share of trials that goes on.")
    if warmup_trials < 1:
        raise InvalidInput(f"The warm-up is {warmup_trials} trials; expected at least 1 to compare with.")
