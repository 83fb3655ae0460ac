"""What is known of one layer of a finished model: said by the process that looks into it, read by who asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One layer that has weights, or through which another's go, such as an activation."""

    name: str
    kind: str  # its class
    weights: int  # numbers that are trained
    kernel: int  # of them, those that connect: without biases, scales and slopes
    rms: float | None  # root mean square of these; None: there are none
    units: int | None  # the last axis of its output; None: the model does not tell what it gives, as a subclassed one
    constant: int | None  # of the units, how many say the same for every validation row
