"""The dry run before a study is accepted: mistakes show in seconds, as sentences, not after a hundred trials.

At the corners of the space the model is built; at a few of them it trains on two batches the way a trial does, and
once it is exported the way a promotion does it.
"""

from __future__ import annotations

from workers.contract import CheckReport, Resources, Training
from workers.entry_points import EntryPointError, resolve


def check(training: Training, resources: Resources) -> CheckReport:
    """Dry-run a study; whatever the user has to correct comes back as a sentence in `problems`."""
    if training.loop:
        return CheckReport(problems=_loop_problems(training), space=training.space)
    from workers.devices import prepare

    prepare(resources)
    from workers.rehearsal import Rehearsal

    return Rehearsal(training, resources).report()


def _loop_problems(training: Training) -> tuple[str, ...]:
    """A loop brings its own data and may take long: only whether it can be called is looked at."""
    try:
        loop = resolve(training.model, training.import_paths)
    except EntryPointError as error:
        return (str(error),)
    if not callable(loop) or isinstance(loop, type):
        return (f"{training.model!r} is a {type(loop).__name__}; expected a function train(run).",)
    return _argument_problems(training.model, loop)


def _argument_problems(name: str, function: object) -> tuple[str, ...]:
    import inspect

    try:
        inspect.signature(function).bind(object())  # type: ignore[arg-type]
    except TypeError:
        given = inspect.signature(function)  # type: ignore[arg-type]
        return (f"{name!r} takes {given}; expected a function of one argument, such as train(run).",)
    except ValueError:  # written in C: it does not say what it takes
        return ()
    return ()
