"""Promotion: a trial's model becomes a version a server can load, whole or not at all.

    lock the model ► finish or undo what an earlier promotion left ► reserve a number (row: staging)
    ► train again if asked ► export into a staging folder ► verify it in a throw-away process
    ► rename without replacing ► fsync the parent ► alias and row (ready) in one transaction
    ► the server's configuration

A server that polls the folder sees integer names only when they are complete. Recovery is a function of row and
disk: a staging row whose folder has its final name is finished, any other is undone. A version that is finished so has
no alias: which one it was to get is not known any more.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import artifacts, configurations, events, models, studies, trials
from db.engine import Database, Session
from db.failpoints import failpoint
from db.tables import Artifact, Model, ModelVersion, Study, Trial
from tuner.configuration import Settings
from tuner.definitions.definition import StudyDefinition
from tuner.errors import NothingToPromote, PromotionFailed, UnknownName
from tuner.names import check_name
from tuner.payload import user_code
from tuner.promoting import publishing, refitting, serving_config
from tuner.promoting.model_processes import export_model, verify_model
from tuner.reporting.final_score import READ, FinalScore, final_score, found, over_folds, ranked
from tuner.reporting.results import no_trial

DEFAULT_ALIAS = "champion"


@dataclass(frozen=True)
class PromotedVersion:
    """A version of a model that a server can load."""

    name: str  # the model's
    number: int  # the version's, also its folder's name
    path: str  # NAME/NUMBER, holds saved_model.pb
    alias: str  # now points at this version
    study: str
    trial: int
    value: float  # the objective that chose the trial, on validation rows
    scores: dict[str, Any]  # metrics on each part, and how often the test part had been read for this study
    final: FinalScore | None  # the objective on the test part beside `value`; None where there is no test part
    params: dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """A trial that can be promoted, with what it was made by."""

    study: Study
    definition: StudyDefinition
    trial: Trial
    artifact: Artifact | None  # of its model; None: it was not kept, and only a refit does without


def promote(
    database: Database,
    settings: Settings,
    study: str,
    *,
    trial: int | None = None,
    name: str | None = None,
    alias: str = DEFAULT_ALIAS,
    directory: str | Path | None = None,
    refit: bool = False,
) -> PromotedVersion:
    """Export the best trial of a study (or the given one) as the next version of a model, and move the alias to it.

    Args:
        database: where the study is.
        settings: artifact store, default folder of models, where user code lies that does not come with the study.
        study: the study's name.
        trial: the trial's number; None: the study's best.
        name: the model's name; None: the study's.
        alias: the name under which the version is asked for.
        directory: folder that holds the model's folder; None: `settings.models`.
        refit: train it again first, with the trial's parameters and seed, on the training and the validation rows
            together, for so many epochs as `refitting.epochs` says.

    Raises:
        UnknownName: no such study.
        InvalidInput: no such trial; or, of a refit, a loop, or no test part that could say what came of it.
        NothingToPromote: no completed trial with a finite objective, or its model was not kept and no refit makes it.
        PromotionFailed: the export or its verification failed; nothing has changed for the server.
    """
    choice = choose(database, study, trial, refit=refit)
    settings = user_code.with_code(database, settings, choice.study)
    model_name = check_name("model", name or study)
    check_name("alias", alias)
    base = Path(directory or settings.models).absolute() / model_name
    base.mkdir(parents=True, exist_ok=True)
    with publishing.locked(base):
        with database.write() as s:
            model = models.ensure(s, model_name, str(base))
        _same_directory(model, base)
        recover(database, model)
        version = _publish(database, settings, choice, model, alias, refit)
        failpoint("alias_moved")
        serving_config.write(database, base.parent)
    return _promoted(database, choice, model, version, alias)


def standing(database: Database, study: str, name: str, alias: str = DEFAULT_ALIAS) -> PromotedVersion | None:
    """The version at which an alias points, where it was made of the study's best trial; else there is one to make.

    Raises UnknownName and NothingToPromote like `promote`.
    """
    choice = choose(database, study, None)
    with database.read() as s:
        model = models.find(s, name)
        number = models.aliases(s, model.id).get(alias) if model is not None else None
        version = next((item for item in models.versions(s, name) if item.number == number), None)
    if model is None or version is None or version.trial_id != choice.trial.id:
        return None
    return _promoted(database, choice, model, version, alias)


def _promoted(database: Database, choice: Choice, model: Model, version: ModelVersion, alias: str) -> PromotedVersion:
    with database.read() as s:
        among = ranked(studies.counts(s, choice.study.id), choice.definition.repeats)
        scores = version.scores or {}
        if "refit" in scores:
            folds = over_folds(s, choice.definition, choice.trial)
            final = final_score(choice.definition, choice.trial, among, scores, folds)
        else:
            final = found(s, choice.definition, choice.trial, among)
    return PromotedVersion(
        name=model.name,
        number=version.number,
        path=version.path,
        alias=alias,
        study=choice.study.name,
        trial=choice.trial.number,
        value=float(choice.trial.value or 0.0),
        scores=scores,
        final=final,
        params=choice.trial.params,
    )


def recover(database: Database, model: Model) -> None:
    """Finish or undo what a promotion that died left behind. The model's lock must be held."""
    with database.read() as s:
        unfinished = [row for row in models.versions(s, model.name) if row.state == "staging"]
    for version in unfinished:
        problems = verify_model(version.path) if Path(version.path).is_dir() else ["It was never renamed."]
        with database.write() as s:
            if problems:
                models.fail(s, version.id, problems[0])
            else:
                models.ready(s, version.id, publishing.manifest_sha256(version.path), publishing.scores(version.path))
    for leftover in Path(model.directory).glob(f"{publishing.STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def choose(database: Database, name: str, number: int | None, *, refit: bool = False) -> Choice:
    """The best trial of a study, or the one of this number. Raises UnknownName and NothingToPromote like `promote`."""
    with database.read() as s:
        study = studies.find(s, name)
        if study is None:
            raise UnknownName("study", name, studies.names(s))
        definition = StudyDefinition.from_json(study.definition)
        trial = _best(s, study, definition) if number is None else _given(s, study, number)
        artifact = artifacts.model(s, trial.id)
    if artifact is None and not refit:
        kept = (
            f"The study keeps the models of its {definition.keep} best trials and a few smaller ones, see `keep:`. "
            f"To train it again: tuner model promote {name} --trial {trial.number} --refit"
        )
        why = "its training loop saved none" if definition.loop else f"it was not kept. {kept}"
        raise NothingToPromote(f"Trial {trial.number} of study {name!r} has no model: {why}")
    choice = Choice(study, definition, trial, artifact)
    if refit:
        refitting.require_possible(choice.study, choice.definition)
    return choice


def _best(s: Session, study: Study, definition: StudyDefinition) -> Trial:
    best = configurations.best(s, study.id, definition.direction, definition.repeats)
    if not best:
        counts = ", ".join(f"{count} {state}" for state, count in studies.counts(s, study.id).items()) or "none at all"
        repeats = f"configuration whose {definition.repeats} repeats are all complete"
        lacks = "completed trial" if definition.repeats == 1 else repeats
        raise NothingToPromote(
            f"Study {study.name!r} has no {lacks} with a finite {definition.objective!r} "
            f"(its trials: {counts}). See what happened: tuner trial list {study.name}"
        )
    return best[0]


def _given(s: Session, study: Study, number: int) -> Trial:
    trial = trials.get(s, study.id, number)
    if trial is None:
        raise no_trial(s, study, number)
    if trial.state != "complete" or trial.value is None:
        raise NothingToPromote(
            f"Trial {number} of study {study.name!r} is {trial.state}; only a completed trial can be promoted. "
            f"List them: tuner trial list {study.name}"
        )
    return trial


def _same_directory(model: Model, base: Path) -> None:
    if Path(model.directory) != base:
        raise NothingToPromote(
            f"The model {model.name!r} lives in {model.directory}, and {base} was asked for. "
            "Promote to the first folder, or under another name."
        )


def _publish(
    database: Database, settings: Settings, choice: Choice, model: Model, alias: str, refit: bool
) -> ModelVersion:
    with _reserved(database, choice, model) as (version, staging):
        epochs = refitting.epochs(database, choice.definition, choice.trial) if refit else None
        answer = export_model(choice.definition, choice.trial, choice.artifact, settings, staging, refit=epochs)
        scores: dict[str, Any] = answer["scores"]
        scores["test_reads"] = _count_test_read(database, choice, scores) if scores.get("test") else 0
        failpoint("exported")
        problems = verify_model(str(staging))
        if problems:
            raise PromotionFailed(
                f"The exported model of trial {choice.trial.number} was refused: {' '.join(problems)}"
            )
        failpoint("verified")
        publishing.rename_without_replacing(staging, Path(version.path))
        failpoint("renamed")
    with database.write() as s:
        version = models.ready(s, version.id, publishing.manifest_sha256(version.path), scores)
        _announce(s, choice, model, version, alias)
    return version


@contextmanager
def _reserved(database: Database, choice: Choice, model: Model) -> Iterator[tuple[ModelVersion, Path]]:
    """A version number with its row, and a staging folder that is gone afterwards, whatever happens."""
    base = Path(model.directory)
    taken = max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=0)
    with database.write() as s:
        version = models.reserve(s, model.id, choice.trial.id, lambda number: str(base / str(number)), above=taken)
    failpoint("version_reserved")
    staging = publishing.new_staging(base, version.number)
    try:
        yield version, staging
    except Exception as error:
        with database.write() as s:
            models.fail(s, version.id, str(error))
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _count_test_read(database: Database, choice: Choice, scores: dict[str, Any]) -> int:
    """Count that the sealed test part was read, keep what came of it, and say how often it was for this study."""
    trial = None if "refit" in scores else choice.trial.id  # what a refit scores says nothing of the trial's own model
    with database.write() as s:
        events.add(s, READ, study_id=choice.study.id, trial_id=trial, **scores)
        return events.count(s, READ, study_id=choice.study.id)


def _announce(s: Session, choice: Choice, model: Model, version: ModelVersion, alias: str) -> None:
    models.set_alias(s, model.id, alias, version.number)
    events.add(
        s,
        "model_promoted",
        study_id=choice.study.id,
        trial_id=choice.trial.id,
        model=model.name,
        version=version.number,
        alias=alias,
    )
