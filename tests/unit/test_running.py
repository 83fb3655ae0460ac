"""Interrupting a run: the first signal is never lost, whatever the process is doing when it arrives."""

from __future__ import annotations

import signal

import pytest

from tuner.running import SIGNALS, Interrupted, interruptible


class SignalsItsEnd:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_arrives_in_a_finalizer_is_remembered() -> None:
    with interruptible() as interruption:
        SignalsItsEnd()  # Python ignores what is raised in its finalizer
        with pytest.raises(Interrupted) as raised:
            interruption.check()
    assert raised.value.exit_code == 143


def test_a_signal_interrupts_at_once_and_the_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible() as interruption:
        interruption.check()
        with pytest.raises(Interrupted) as raised:
            signal.raise_signal(signal.SIGINT)
    assert raised.value.exit_code == 130
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    "other",
    [
        KeyboardInterrupt(),  # as Ray raises it, out of a call that waits
        OSError(9, "Bad file descriptor"),  # as shutil.rmtree closes a folder twice
    ],
)
def test_a_signal_stays_one_where_a_library_puts_another_error_in_its_place(other: BaseException) -> None:
    def waits() -> None:
        with interruptible():
            try:
                signal.raise_signal(signal.SIGTERM)
            except Interrupted:
                raise other from None

    with pytest.raises(Interrupted) as raised:
        waits()
    assert raised.value.exit_code == 143


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="descriptor"), interruptible():
        raise OSError(9, "Bad file descriptor")
