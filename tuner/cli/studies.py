"""`tuner study …`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli import verbs
from tuner.cli.groups import Group
from tuner.cli.numbers import SECONDS
from tuner.cli.opened import opened, opened_if_there
from tuner.cli.output import emit_json, emit_table, output_option
from tuner.cli.run import FILE, study_from_file
from tuner.cli.summaries import NOBODY, one_line, show_summary, unserved

if TYPE_CHECKING:
    from db.engine import Database
    from tuner.promoting.regularization import Regularization, Regularized
    from tuner.reporting.results import StudySummary

NAME = click.argument("name")


@click.group(cls=Group)
def study() -> None:
    """Submit, list, show, wait for, pause, stop and change studies."""


@study.command()
@FILE
@output_option
def submit(file: Path, output: str) -> None:
    """Check the study in FILE and store it.

    A coordinator that serves this database (`tuner serve`) then runs it.
    """
    from tuner.submission import require_node
    from tuner.verbs import OVER

    study = study_from_file(file)
    click.echo("Checking the study: data, model, the corners of its space ...", err=True)
    study.submit()
    now = study.summary()
    if output == "json":
        emit_json(now)
        return
    following = (
        f"Its result: tuner study show {now.name}" if now.state in OVER else f"Watch it: tuner study wait {now.name}"
    )
    click.echo(f"Study {now.name!r} is {now.state}. {following}")
    if unserved(study.database, now) and not require_node(study.definition, study.settings):
        click.echo(f"{NOBODY} Whether a node has what a trial asks for was not checked.", err=True)


@study.command("list")
@output_option
def list_studies(output: str) -> None:
    """Every study, the newest last."""
    from db import studies

    database, rows = opened_if_there(), []
    if database is not None:
        with database.read() as s:
            rows = studies.listing(s)
    if output == "json":
        emit_json(rows)
        return
    columns = ("study", "state", "complete", "pruned", "failed", "running", "queued", "best", "created", "waits")
    states = columns[2:7]
    table = [
        (
            row.name,
            row.state,
            *(row.counts.get(state, 0) for state in states),
            row.best_value,
            row.created_at,
            row.waits,
        )
        for row in rows
    ]
    emit_table(columns, table, "There is no study yet. Start one: tuner run STUDY.yaml")


@study.command()
@NAME
@output_option
def show(name: str, output: str) -> None:
    """One study: state, trials, best parameters."""
    from tuner.reporting import results

    show_summary(results.summary(opened(), name), output)


@study.command()
@NAME
@output_option
def score(name: str, output: str) -> None:
    """What the best trial scores on the test part.

    These rows had no part in choosing it, so that is the quality to expect. Each reading of them is counted; asked
    again, the command tells what was read.
    """
    from tuner.configuration import Settings
    from tuner.promoting import scoring

    settings = Settings.load()
    final = scoring.score(opened(settings), settings, name)
    if output == "json":
        emit_json(final)
        return
    click.echo(final.sentence)


@study.command()
@NAME
@output_option
def simplest(name: str, output: str) -> None:
    """The smallest of the models that are as good as the best.

    Kept models that are smaller than those of all better trials are compared with the best one on the validation rows.
    As good is what is worse by no more than one standard error of the difference. Promote it: tuner model promote NAME
    --simplest
    """
    from tuner.configuration import Settings
    from tuner.promoting import simplest

    settings = Settings.load()
    database = opened(settings)
    found = simplest.simplest(database, settings, name)
    if output == "json":
        emit_json(found)
        return
    columns = ("trial", "weights", found.objective, "worse by", "standard error", "as good")
    rows = [
        (c.trial, c.weights, c.value, c.worse_by, c.standard_error, "yes" if c.as_good else "no")
        for c in found.candidates
    ]
    emit_table(columns, rows, "")
    click.echo(found.sentence)


@study.command()
@NAME
@click.option("--trial", type=int, metavar="N", help="Layer by layer, the model of this trial.")
@output_option
def regularization(name: str, trial: int | None, output: str) -> None:
    """What regularization did to the best models.

    How far the objective on training rows and on validation rows is apart, how large the weights are, how many of
    them can be set to zero before the objective is worse, and how many units say the same for every row. The five
    best models that were kept are looked into.
    """
    from tuner.configuration import Settings
    from tuner.promoting import regularization

    settings = Settings.load()
    database = opened(settings)
    regularization.chosen(database, name, trial)  # what cannot be looked into is said first
    click.echo("Looking into the models that were kept: about half a minute ...", err=True)
    found = regularization.regularization(database, settings, name, trial)
    if output == "json":
        emit_json(found)
        return
    columns, rows = _layers(found.models[0]) if trial is not None else _models(found)
    emit_table(columns, rows, "")
    click.echo(found.sentence)


def _models(found: Regularization) -> tuple[list[str], list[list[object]]]:
    names = list(dict.fromkeys(name for model in found.models for name in model.params))
    told = [f"{found.objective.removeprefix('val_')} in training", found.objective, "gap", "penalty", "rms"]
    rows: list[list[object]] = [
        [
            model.trial,
            *(model.params.get(name, "") for name in names),
            *(model.training, model.validation, model.gap, model.penalty, model.rms, f"{model.zero:.0%}"),
            "" if model.constant is None else f"{model.constant} of {model.units}",
        ]
        for model in found.models
    ]
    return ["trial", *names, *told, "can be zero", "constant units"], rows


def _layers(model: Regularized) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [
        [
            *(layer.name, layer.kind, layer.weights, layer.rms),
            "" if layer.constant is None else f"{layer.constant} of {layer.units}",
        ]
        for layer in model.layers
    ]
    return ["layer", "kind", "weights", "rms", "constant units"], rows


@study.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--file", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.  [default: NAME.html]"
)
def report(names: tuple[str, ...], file: Path | None) -> None:
    """One page of plots for a browser: history, parameters.

    The page needs no network and no server. It shows the study as it stands, also while it runs. Of several studies it
    compares how fast each found its best and what that is; it is then NAME-and-OTHER.html.
    """
    from tuner.reporting import comparison
    from tuner.reporting import report as of_one

    if len(names) == 1:
        path, what = of_one.write(opened(), names[0], file), f"study {names[0]!r}"
    else:
        path, what = comparison.write(opened(), names, file), f"{len(names)} studies"
    click.echo(f"The report of {what} is written; open it in a browser:", err=True)
    click.echo(path)


@study.command()
@NAME
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@output_option
def tensorboard(name: str, folder: Path | None, output: str) -> None:
    """Logs for TensorBoard: curves, and the HParams tab.

    They are written to FOLDER, by default NAME-tensorboard, and show the study as it stands, also while it runs. Asked
    again, the command replaces them.
    """
    from tuner.reporting import tensorboard_logs

    logs = tensorboard_logs.write(opened(), name, folder)
    if output == "json":
        emit_json({"folder": str(logs.folder), "trials": logs.trials, "of": logs.of})
        return
    some = f"the best and the newest {logs.trials} of {logs.of}" if logs.trials < logs.of else f"all {logs.of}"
    click.echo(f"The trials of study {name!r} are written, {some}. Look at them:", err=True)
    click.echo(f"tensorboard --logdir {shlex.quote(str(logs.folder))}", err=True)
    click.echo(logs.folder)


@study.command()
@NAME
@click.option("--timeout", type=SECONDS, metavar="SECONDS", help="Wait no longer than this.")
@output_option
def wait(name: str, timeout: float | None, output: str) -> None:
    """Wait until the study is over, then show it.

    Exit code 1 when it failed, or when the time is up.
    """
    from tuner.api import load_study
    from tuner.errors import TunerError

    opened()
    study = load_study(name)
    try:
        study.wait(timeout, _Watch(study.database))
    except TimeoutError as late:
        raise TunerError(f"{late} {NOBODY if unserved(study.database, study.summary()) else ''}".strip()) from late
    show_summary(study.summary(), output)


for verb in (verbs.pause, verbs.resume, verbs.stop, verbs.cancel, verbs.set_limits, verbs.delete, verbs.gc):
    study.add_command(verb)


class _Watch:
    """Prints the study on stderr where it changed, and once when nobody runs it."""

    def __init__(self, database: Database) -> None:
        self._database, self._last, self._told = database, "", False

    def __call__(self, now: StudySummary) -> None:
        line, last = one_line(now), self._last
        if line != last:
            self._last = line
            click.echo(line, err=True)
        if not self._told and unserved(self._database, now):
            self._told = True
            click.echo(NOBODY, err=True)
