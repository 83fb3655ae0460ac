"""Trials that pruning would stop and that go on all the same, so that it can be seen how often it was wrong.

Which ones is drawn before anything is known of them, so what becomes of them is what would have become of the others.
"""

from __future__ import annotations

import math
from dataclasses import replace

from tuner.pruners.stopping import Decision


def audited(seed: int, number: int, share: float) -> bool:
    """Whether trial `number` goes on whatever the rule says.

    Steps of the square root of 2 spread `share` evenly over any run of numbers, apart from `hyperband`'s brackets.
    """
    return (seed * (math.sqrt(5) - 1) / 2 + number * math.sqrt(2)) % 1.0 < share


def spared(decision: Decision) -> Decision:
    """The decision about a trial that goes on whatever the rule says. One without a finite objective cannot go on."""
    if decision.action != "stop" or decision.value is None:
        return decision
    against = decision.reason.replace("Stopped", "Would be stopped", 1)
    return replace(
        decision, action="spare", reason=f"{against} It goes on, to see whether that would be right: `audit`."
    )
