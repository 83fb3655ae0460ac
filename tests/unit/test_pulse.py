"""When a worker that answers is taken for hung: arithmetic on what it answered."""

from __future__ import annotations

from workers.contract import Report, SliceResult, Trained
from workers.launchers.pulse import Pulse


def felt(*answers: tuple[int, float | None]) -> Pulse:
    """A pulse after answers a second apart, each with the batches so far and the processor seconds so far."""
    pulse = Pulse()
    for progress, effort in answers:
        pulse.feel(1.0, SliceResult("a", "w", progress=progress), effort)
    return pulse


def test_a_report_is_a_sign_of_work_where_no_batches_are_counted() -> None:
    pulse = felt((0, 0.0), (0, 0.0))
    assert pulse.idle == 1.0
    pulse.feel(1.0, SliceResult("a", "w", reports=(Report(0, 1, 1, {}, 1.0),)), None)
    assert (pulse.silent, pulse.idle) == (0.0, 0.0)


def test_a_worker_that_counts_batches_is_neither_silent_nor_idle() -> None:
    pulse = felt(*[(batch, 0.0) for batch in range(50)])
    assert (pulse.silent, pulse.idle) == (0.0, 0.0)


def test_a_long_trace_is_silent_and_not_idle() -> None:
    starved = felt(*[(0, 0.06 * second) for second in range(50)])  # of a processor that 16 others want, too
    assert (starved.silent, starved.idle) == (49.0, 0.0)


def test_a_lock_that_is_never_released_is_idle_in_spite_of_what_a_process_at_rest_uses() -> None:
    assert felt(*[(7, 0.01 * second) for second in range(40)]).idle > 25.0


def test_what_comes_after_work_is_idle_from_then_on() -> None:
    worked = [(7, float(second)) for second in range(30)]
    assert felt(*worked, *[(7, 29.0)] * 26).idle == 26.0


def test_training_begins_with_a_batch_or_a_report() -> None:
    pulse = felt((0, 0.0), (0, 0.0))
    assert not pulse.begun
    pulse.feel(1.0, SliceResult("a", "w", trained=(Trained(0, 1, "alone"),)), 0.0)  # said before the data is there
    assert not pulse.begun
    assert felt((0, 0.0), (1, 0.0), (1, 0.0)).begun
    pulse.feel(1.0, SliceResult("a", "w", reports=(Report(0, 1, 1, {}, 1.0),)), None)
    assert pulse.begun


def test_waiting_for_a_disk_is_not_idle() -> None:
    pulse = felt(*[(7, None)] * 30, (7, 3.0), (7, 3.0))
    assert pulse.idle <= 1.0
    assert pulse.silent > 25.0
