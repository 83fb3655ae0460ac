"""A study as Python sees it: run or submit it, look at its trials, promote its best model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import studies
from db.engine import Database
from tuner import running, verbs
from tuner.configuration import Settings
from tuner.databases import find_database
from tuner.definitions.definition import StudyDefinition, parse
from tuner.errors import InvalidInput, StudyFailed, UnknownName
from tuner.payload.in_memory import NOTHING, InMemory
from tuner.promoting import promotion, regularization, scoring, simplest
from tuner.promoting.regularization import Regularization
from tuner.promoting.simplest import Simplest
from tuner.reporting import comparison, importance, report, results
from tuner.reporting.final_score import FinalScore
from tuner.reporting.results import ConfigurationResult, StudySummary, TrialResult
from workers.contract import Launcher

if TYPE_CHECKING:
    import pandas

WAIT_POLL_SECONDS = 1.0


class Study:
    """A study: what was asked for, and what has been found so far.

    Made by `create_study` or `load_study`. Nothing is stored before `run` or `submit`.
    """

    def __init__(
        self,
        definition: StudyDefinition,
        settings: Settings,
        database: Database | None = None,
        memory: InMemory = NOTHING,
    ) -> None:
        self.definition, self.settings = definition, settings
        self._memory = memory  # what of it lies in no file, and may not be stored yet
        self.dashboard_url: str | None = None  # of the Ray that the last `run` used
        self._database = database

    def __repr__(self) -> str:
        return f"Study({self.name!r}, state={self.state!r})"

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def state(self) -> str:
        """`new` before it is submitted, then one of db/states.py: active, paused, ..., finished or failed."""
        if not self._found():
            return "new"
        with self.database.read() as s:
            row = studies.find(s, self.name)
        return "new" if row is None else row.state

    @property
    def database(self) -> Database:
        """The database that the study is in. Raises UnknownName where nothing was stored yet."""
        if not self._found() or self._database is None:
            raise UnknownName("study", self.name, ())
        return self._database

    def _found(self) -> bool:
        """Open the database, without making one; whether there is one."""
        if self._database is None:
            self._database = find_database(self.settings)
        return self._database is not None

    # --- doing ----------------------------------------------------------------------------------------------------

    def enqueue_trial(self, params: Mapping[str, Any]) -> None:
        """Have these parameters tried first, in the order of the calls. Only before the study is submitted.

        Raises:
            InvalidInput: the study exists already, or the parameters are not a point of its space.
        """
        if self.state != "new":
            raise InvalidInput(
                f"Study {self.name!r} exists already; parameters can be enqueued before it is submitted."
            )
        self.definition = parse({**self.definition.to_json(), "enqueue": [*self.definition.enqueue, dict(params)]})

    def run(self, *, progress: bool = True) -> Study:
        """Run the study to its end in this process, resuming it where it was. Returns the study itself.

        Args:
            progress: show what is going on, live on a terminal, as plain lines elsewhere.

        Raises:
            InvalidStudy: the dry run found mistakes; nothing was stored.
            StudyExists: another study has this name.
            StudyBusy: another coordinator is running it.
            StudyFailed: too many of its trials failed, or its sampler did.
            KeyboardInterrupt: running it again resumes it.
        """
        from tuner.reporting.progress import live

        def opened(launcher: Launcher) -> None:
            self.dashboard_url = getattr(launcher, "dashboard_url", None)
            if progress and self.dashboard_url:
                hint = getattr(launcher, "dashboard_hint", "")
                sys.stderr.write(f"Ray dashboard: {self.dashboard_url}{f' ({hint})' if hint else ''}\n")

        with live(self.definition, enabled=progress) as watch:
            running.run(self.definition, self.settings, watch, opened, self._memory)
        _raise_if_failed(self.database, self.name)
        return self

    def submit(self) -> Study:
        """Store the study for a coordinator that serves the same database (`tuner serve`). Returns the study itself.

        The Python files of its code are stored with it: what is edited later does not change it. Data that is in memory
        is put among the artifacts, which have to be the coordinator's. Submitting the same study again changes nothing.
        Raises InvalidStudy and StudyExists like `run`; InvalidStudy also where no node of the coordinators that are up
        has what a trial asks for.
        """
        running.submit(self.definition, self.settings, self._memory)
        return self

    def wait(self, timeout: float | None = None, watch: Callable[[StudySummary], None] | None = None) -> Study:
        """Wait until a coordinator has finished the study. Returns the study itself.

        Args:
            timeout: most seconds to wait; None: as long as it takes.
            watch: called about once a second with the summary.

        Raises:
            TimeoutError: the study was not over in time.
            StudyFailed: too many of its trials failed, or its sampler did.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (now := self.summary()).state not in verbs.OVER:
            if watch is not None:
                watch(now)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Study {self.name!r} is still {now.state} after {timeout:g} s.")
            time.sleep(WAIT_POLL_SECONDS)
        _raise_if_failed(self.database, self.name)
        return self

    def pause(self) -> bool:
        """Save the running trials and give their workers back until `resume`.

        This and the verbs below work at any moment, whichever process runs the study. False: there was nothing to do.
        """
        return verbs.ask(self.database, self.name, verbs.PAUSE)

    def resume(self) -> bool:
        """Let a study go on that was paused, or that ended with some of its limits left; `run` does it in this process.

        Trials resume from where they were saved. Raises InvalidInput where the limits are used up: see `set`.
        """
        return verbs.ask(self.database, self.name, verbs.RESUME)

    def stop(self) -> bool:
        """Start no more trials; those that run are finished. What was found is kept."""
        return verbs.ask(self.database, self.name, verbs.STOP)

    def cancel(self, trial: int | None = None) -> bool:
        """End the study now, its running trials with it; or only the trial of this number. What was found is kept."""
        if trial is not None:
            return verbs.cancel_trial(self.database, self.name, trial)
        return verbs.ask(self.database, self.name, verbs.CANCEL)

    def set(self, **changes: Any) -> Study:
        """Change `weight`, `priority`, `workers` or a limit such as `trials`; a study that has ended goes on with it.

        Raises InvalidInput for a wrong value, and where a study that has ended would have nothing to do.
        """
        self.definition = verbs.edit(self.database, self.name, changes).definition
        return self

    def promote(
        self,
        name: str | None = None,
        *,
        trial: int | None = None,
        alias: str = promotion.DEFAULT_ALIAS,
        directory: str | Path | None = None,
        refit: bool = False,
    ) -> promotion.PromotedVersion:
        """Export the best trial (or `trial`) as the next version of the model `name`; see `promotion.promote`."""
        options: dict[str, Any] = {"name": name, "alias": alias, "directory": directory, "refit": refit}
        return promotion.promote(self.database, self.settings, self.name, trial=trial, **options)

    def final_score(self) -> FinalScore:
        """What the best trial scores on the test part, which has chosen nothing: the number to expect.

        The study must be over. The reading is counted; asked again, it tells what was read.
        Raises like `tuner.promoting.scoring.score`.
        """
        return scoring.score(self.database, self.settings, self.name)

    def simplest(self) -> Simplest:
        """The smallest of the models that are as good as the best one; see `tuner.promoting.simplest.simplest`."""
        return simplest.simplest(self.database, self.settings, self.name)

    def regularization(self, trial: int | None = None) -> Regularization:
        """What regularization did to the best models, or to the one of `trial`: how far the losses on the rows of
        training and of validation are apart, how many weights can be set to zero, which units say nothing; see
        `tuner.promoting.regularization`.
        """
        return regularization.regularization(self.database, self.settings, self.name, trial)

    # --- looking --------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[TrialResult]:
        """Every trial so far, by number."""
        return results.trial_results(self.database, self.name)

    @property
    def configurations(self) -> list[ConfigurationResult]:
        """Every configuration so far, by number: with `repeats` or folds, the mean over them and its standard error."""
        return results.configuration_results(self.trials, self.definition.repeats, self.definition.folds)

    @property
    def best_trial(self) -> TrialResult:
        """The completed trial with the best finite objective; with `repeats`, the best one of the best configuration.

        Raises InvalidInput while there is none.
        """
        return results.best(self.summary(), self.definition.repeats)[0]

    @property
    def best_configuration(self) -> ConfigurationResult:
        """The configuration with the best mean over its repeats. Raises InvalidInput while there is none."""
        return results.best(self.summary(), self.definition.repeats)[1]

    @property
    def best_params(self) -> dict[str, Any]:
        return self.best_trial.params

    @property
    def best_value(self) -> float:
        """The objective of the best trial; with `repeats`, the mean of the best configuration."""
        return float(self.best_configuration.value or 0.0)

    def summary(self) -> StudySummary:
        """The study at a glance."""
        return results.summary(self.database, self.name)

    def importances(self) -> dict[str, float]:
        """How much of what is good each parameter explains, the most important first; the shares add up to 1.

        Parameters that not every trial has are left out. By PED-ANOVA, see `tuner.reporting.importance.importance`.
        Raises InvalidInput while fewer than 40 trials (or configurations) are complete or pruned, or none is complete.
        """
        return importance.importances(self.database, self.name)

    def report(self, path: str | Path | None = None, *, beside: Sequence[str] = ()) -> Path:
        """Write a page of plots for a browser, by default NAME.html: see `reporting.report.write`. With the names of
        other studies of the database, `beside`, it compares them: see `reporting.comparison.write`.
        """
        names = [self.name, *beside]
        return comparison.write(self.database, names, path) if beside else report.write(self.database, self.name, path)

    def tensorboard(self, folder: str | Path | None = None) -> Path:
        """Write the trials as logs for TensorBoard, by default to NAME-tensorboard; see `tensorboard_logs.write`.

        Of more than 500 trials the 250 best and the newest others are written.
        """
        from tuner.reporting import tensorboard_logs

        return tensorboard_logs.write(self.database, self.name, folder).folder

    def trials_dataframe(self) -> pandas.DataFrame:
        """One row per trial: number, configuration, state, value, best_epoch, weights, epochs, seconds, attempts,
        cause, params_NAME of each parameter. With `repeats`, `groupby("configuration").value.agg(["mean", "sem"])`.
        """
        return results.dataframe(self.trials, self.definition.repeats)


def _raise_if_failed(database: Database, name: str) -> None:
    if results.study_row(database, name).state == "failed":
        now = results.summary(database, name)
        counted = {cause: count for cause, count in sorted(now.failures.items()) if cause != "infeasible"}
        causes = ", ".join(f"{count} x {cause}" for cause, count in counted.items())
        told = f"{now.reason} Causes: {causes}." if causes else now.reason
        raise StudyFailed(f"Study {name!r} failed: {told} Look at its trials: tuner trial list {name} --state failed")
