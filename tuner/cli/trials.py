"""`tuner trial …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.groups import Group
from tuner.cli.numbers import BEST, TRIAL
from tuner.cli.opened import opened
from tuner.cli.output import duration, emit_fields, emit_json, emit_table, output_option
from tuner.cli.summaries import NOBODY, unserved

if TYPE_CHECKING:
    from tuner.reporting.explanations import TrialStory

STUDY = click.argument("study")
NUMBER = click.argument("number", type=TRIAL)
STATES = ("queued", "running", "complete", "pruned", "failed", "cancelled")


@click.group(cls=Group)
def trial() -> None:
    """List, show, explain and cancel trials."""


@trial.command("list")
@STUDY
@click.option("--best", type=BEST, metavar="N", help="Only the N best of the complete trials, the best one first.")
@click.option("--state", type=click.Choice(STATES), help="Only trials in this state.")
@output_option
def list_trials(study: str, best: int | None, state: str | None, output: str) -> None:
    """The trials of STUDY by number, with parameters and value."""
    from tuner.reporting import results

    if best is not None and state not in (None, "complete"):
        raise click.UsageError(f"--best lists complete trials, and --state asks for {state} ones; give one of them.")
    state = state if best is None else "complete"
    database = opened()
    found = [item for item in results.trial_results(database, study, best) if state in (None, item.state)]
    if output == "json":
        emit_json(found)
        return
    rows = [
        (item.number, item.state, item.value, item.epochs, duration(item.seconds), item.cause, item.params)
        for item in found
    ]
    columns = ("trial", "state", "value", "epochs", "time", "cause", "parameters")
    yet = results.yet(results.study_row(database, study).state)
    emit_table(columns, rows, f"Study {study!r} has no trial{f' that is {state}' if state else ''}{yet}.")


@trial.command()
@STUDY
@NUMBER
@output_option
def show(study: str, number: int, output: str) -> None:
    """One trial: parameters, attempts, metrics by epoch."""
    from tuner.reporting import explanations

    story = explanations.trial_story(opened(), study, number)
    if output == "json":
        emit_json(story)
        return
    _show_result(story)
    for attempt in story.attempts:
        emit_fields({f"attempt {attempt.token}": attempt.line, "trained": attempt.trained})
        if attempt.log:
            click.echo(attempt.log)
    names = list(dict.fromkeys(name for report in story.reports for name in report.metrics))
    rows = [(report.epoch, *(report.metrics.get(name) for name in names), report.seconds) for report in story.reports]
    click.echo()
    emit_table(("epoch", *names, "seconds"), rows, "It has reported no epoch yet.")


@trial.command()
@STUDY
@NUMBER
@output_option
def explain(study: str, number: int, output: str) -> None:
    """Why a trial was stopped, went on or failed.

    Shows every decision with its threshold and rivals, and the cause where the trial failed.
    """
    from tuner.reporting import explanations

    story = explanations.trial_story(opened(), study, number)
    if output == "json":
        emit_json({"trial": story.result, "decisions": story.decisions, "attempts": story.attempts})
        return
    for sentence in explanations.explain(story):
        click.echo(sentence)
    rows = [
        (item.epoch, item.action, item.rule, item.value, item.threshold, {f"trial {n}": v for n, v in item.rivals})
        for item in story.decisions
    ]
    if rows:
        click.echo()
        emit_table(("epoch", "decision", "rule", "value", "threshold", "best rivals"), rows, "")


@trial.command()
@STUDY
@NUMBER
def cancel(study: str, number: int) -> None:
    """End a trial now. It counts as cancelled, and what it reported is kept."""
    from tuner import verbs
    from tuner.reporting import results

    database = opened()
    asked = verbs.cancel_trial(database, study, number)
    state = results.trial_result(database, study, number).state
    if asked:
        click.echo(f"Trial {number} of study {study!r} is {state}, and ends when its coordinator looks again.")
        if unserved(database, results.summary(database, study)):
            click.echo(NOBODY, err=True)
    elif state in ("queued", "running"):
        click.echo(f"Trial {number} of study {study!r} was asked to end already; nothing was changed.")
    else:
        click.echo(f"Trial {number} of study {study!r} is {state} already; nothing was changed.")


def _show_result(story: TrialStory) -> None:
    result = story.result
    emit_fields(
        {
            "trial": f"{result.number} ({result.state})",
            "value": result.value,
            "fold": story.fold,
            "best epoch": result.best_epoch,
            "weights": result.weights,
            "epochs": result.epochs,
            "time": duration(result.seconds),
            "parameters": result.params,
            "cause": result.cause,
            "message": result.message,
        }
    )
