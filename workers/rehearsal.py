"""What a dry run does with Keras: build, train two batches, save, export, at corners of the space."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from search_spaces import Space, from_keras_tuner
from workers import devices
from workers.cohorts.lifted import MOST_WEIGHTS, require_small
from workers.cohorts.rehearsing import liftable
from workers.cohorts.structure import BYTES_PER_WEIGHT
from workers.contract import CheckReport, Member, Resources, Training
from workers.data import Part, Parts, load
from workers.data.preprocessing import servable
from workers.exporting.export import probe
from workers.exporting.saved_model import ExportRefused, write_saved_model
from workers.failures import CannotStack, NonFinite, sentence_of
from workers.refusals import LeftOut, Refused, mistakes
from workers.trials import models
from workers.trials.gate import Gate
from workers.trials.graphs import dismantle
from workers.trials.hyperparameters import asked, explore, own_fit
from workers.trials.progress import ObjectiveMissing
from workers.trials.seeds import set_seeds
from workers.trials.training import BATCH_SIZE, Trial

FITS = 3  # corners that train; the others are only built. Two where these take long
LONG_SECONDS = 20.0
DRAWS = 50  # most points drawn where the user's code leaves out every corner
LEAVING_OUT = " Correct it, or have it raise keras_tuner.errors.FailedTrialError where no trial is wanted."
OURS = {"batch_size"}  # parameters that training looks at, whether or not the model does


class Rehearsal:
    """One dry run of one study."""

    def __init__(self, training: Training, resources: Resources) -> None:
        self._resources = resources
        self._training = replace(training, epochs=1, patience=None, checkpoint_seconds=math.inf)
        self._space: Space | None = None
        self._parts: Parts | None = None
        self._metrics: dict[str, float] = {}
        self._weights: list[int] = []
        self._asked: set[str] = set()
        self._left_out = ""  # the last sentence by which the user's code left a point out
        self._exported = False
        self._liftable: tuple[str, ...] = ()
        self._alone: str | None = None
        self._points: list[dict[str, Any]] = []  # that were built, the first ones trained as well
        self._small: list[dict[str, Any]] = []  # those of them whose models are small enough for a stack
        self._trained = self._diverged = 0  # of these points
        self._began = 0.0  # of the monotonic clock, the first of them
        self._objectives: list[float] = []  # after two batches, one of each corner that was trained

    def report(self) -> CheckReport:
        """What is wrong, and what was learned on the way."""
        problems: tuple[str, ...] = ()
        try:
            self._run()
        except Refused as error:
            problems = (str(error),)
        weights = self._weights or [0]
        room, alone = devices.room(self._resources, BYTES_PER_WEIGHT * max(weights)), self._alone
        if room == 1 and alone is None:
            alone = f"a model has {max(weights):,} weights, and a worker's share of memory has no room for two"
        return CheckReport(
            problems=problems,
            metrics=tuple(sorted(self._metrics)),
            space=self._space.to_json() if self._space is not None else self._training.space,
            data=self._parts.describe() if self._parts is not None else {},
            parameters=(min(weights), max(weights)),
            liftable=self._liftable,
            alone=alone,
            together=room,
        )

    def _run(self) -> None:
        parts = self._parts = self._load()
        space = self._space = self._read_space(parts)
        self._try_points(space, parts)
        self._require_asked(space)
        self._look_for_stacks(space, parts)
        if self._diverged == self._trained:
            raise Refused(
                "The loss or the objective was NaN or infinite after two batches at every corner of the space. Look "
                "for NaN in the data, for labels outside the model's classes, and for too large a learning rate."
            )
        self._require_computed()

    def _try_points(self, space: Space, parts: Parts) -> None:
        """Every corner. Where the user's code leaves them all out, points drawn from the space until it takes one."""
        corners, draw = space.corners(), random.Random(0)
        self._diverged, self._began = 0, time.monotonic()
        for corner in corners:
            self._try(corner, parts)
        for _ in range(DRAWS):
            if self._points:
                return
            self._try(space.from_unit({name: draw.random() for name in space.free}), parts)
        raise Refused(
            f"The code leaves out all {len(corners)} corners of the space and {DRAWS} points drawn from it. Narrow the "
            f"space. {self._left_out}"
        )

    def _try(self, point: dict[str, Any], parts: Parts) -> None:
        """Train there, or only build where enough were trained, unless the user's code leaves it out."""
        enough = FITS - 1 if time.monotonic() - self._began > LONG_SECONDS else FITS
        try:
            if len(self._points) < enough:
                self._train_at(point, parts)
                self._trained += 1
            else:
                self._look_at(self._build(point, parts), point)
            self._points.append(point)
        except LeftOut as error:
            self._left_out = str(error)
        keras.backend.clear_session()

    def _look_for_stacks(self, space: Space, parts: Parts) -> None:
        """The `mlp` family is known; of a user's models it is found out whether they can train together."""
        if self._training.model == "mlp":
            return
        try:
            require_small(min(self._weights, default=0))  # smaller models of the space may still train together
            self._liftable = liftable(self._training, space, self._small, parts)
        except CannotStack as error:
            self._alone = str(error)
        except Exception as error:  # nothing that only stacks need may stop a study
            self._alone = sentence_of(error)
        finally:
            keras.backend.clear_session()

    def _load(self) -> Parts:
        if self._training.model != "mlp":
            with mistakes("The model cannot be loaded"):
                models.load_builder(self._training)
        if self._training.data is None:
            raise Refused("The study names no data: add `data`, a file and its target or a 'module:function'.")
        with mistakes("The data cannot be loaded"):
            parts = load(self._training.data, self._training.import_paths)
        if 0 in (parts.train.rows, parts.validation.rows):
            raise Refused(f"The data has {parts.rows} rows; training and validation need at least one each.")
        return parts

    def _read_space(self, parts: Parts) -> Space:
        if self._training.space is not None:
            return Space.from_json(self._training.space)
        if self._training.model == "mlp":
            raise Refused("The mlp family needs a space, such as `space: {family: mlp}`.")
        with mistakes("The search space cannot be read from the model"):
            hp = explore(lambda hp: models.build_with(self._training, hp))
            if own_fit(models.load_builder(self._training)) is not None:
                with suppress(LeftOut):
                    built, _ = self._train({}, parts)
                    hp.merge(built.hp, overwrite=False)  # what it asks for
            return from_keras_tuner(hp)

    def _train_at(self, corner: dict[str, Any], parts: Parts) -> None:
        built, metrics = self._train(corner, parts)
        self._look_at(built, corner)
        self._metrics.update(metrics)
        self._require_objective(metrics, built.model)
        if not self._exported and all(map(math.isfinite, metrics.values())):
            self._exported = True
            with mistakes("The trained model cannot be exported as a SavedModel", corner):
                _export(built.model, parts)

    def _train(self, params: Mapping[str, Any], parts: Parts) -> tuple[models.Built, dict[str, float]]:
        """Two batches of training, evaluation and saving, by the code that trains a trial; the epoch's metrics."""
        gate = Gate([Member(0, 0, dict(params), 0)])
        gate.open(1)
        lane = gate.lanes[0]
        lane.begin()
        set_seeds(0, keras=True)
        small = _few_rows(parts, 2 * int(params.get("batch_size", BATCH_SIZE)))
        with tempfile.TemporaryDirectory(prefix="ockham-check-") as folder:
            training = replace(self._training, artifacts=folder)
            built = self._build(params, parts)
            with mistakes("The model cannot be trained on this data", params, f" The data has {_shapes(parts)}."):
                self._run_trial(Trial(lane, training, built, small))
        reports = gate.take().reports
        return built, reports[0].metrics if reports else {}

    def _build(self, params: Mapping[str, Any], parts: Parts) -> models.Built:
        with mistakes("The model cannot be built", params, LEAVING_OUT if self._training.model != "mlp" else ""):
            return models.build(self._training, params, parts)

    def _run_trial(self, trial: Trial) -> None:
        try:
            trial.run()
        except NonFinite:
            self._diverged += 1  # one corner may: such trials fail, and the study goes on
        except ObjectiveMissing:
            pass  # `_require_objective` says it with what is logged
        finally:
            trial.close()

    def _look_at(self, built: models.Built, point: dict[str, Any]) -> None:
        self._asked |= asked(built.hp)
        weights = built.model.count_params() if built.model.built else 0
        if weights:
            self._weights.append(weights)
        if weights <= MOST_WEIGHTS:
            self._small.append(point)
        for layer in built.model._flatten_layers():
            if isinstance(layer, keras.layers.Lambda):
                raise Refused(
                    f"The model has a Lambda layer, {layer.name!r}: code that a saved model cannot hold safely. Write "
                    "it as a class derived from keras.layers.Layer, or with keras.ops."
                )

    def _require_objective(self, metrics: Mapping[str, float], model: keras.Model) -> None:
        objective = self._training.objective
        if objective in metrics:
            self._objectives.append(metrics[objective])
            return
        near = get_close_matches(objective, metrics, n=2, cutoff=0.6)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        if objective.endswith("data_loss"):
            hint = " It exists where train_step and test_step call self.compute_loss(...)."
        with suppress(Exception):  # a user's class may say it in another way
            if objective.removeprefix("val_") in model.get_metrics_result():
                hint = " It has a number for each class, where one is expected: see its `average`, such as 'macro'."
        raise Refused(
            f"The model does not log the objective {objective!r}; it logs {', '.join(sorted(metrics))}.{hint}"
        )

    def _require_computed(self) -> None:
        """No model has a loss of exactly 0 after two batches: it is one that its test step does not compute."""
        objective = self._training.objective
        if objective.endswith("loss") and self._objectives and not any(self._objectives):
            other = "" if "val_data_loss" not in self._metrics else " Or rank on val_data_loss, which has values."
            raise Refused(
                f"The objective {objective!r} is exactly 0 for each model of the dry run, so it cannot tell them "
                f"apart. Where train_step updates a loss of its own, test_step has to update it, too.{other}"
            )

    def _require_asked(self, space: Space) -> None:
        """Every parameter must be one that the model asks for at some corner. The mlp has refused others itself.

        Where a corner was left out, nobody knows what the model would have asked for there.
        """
        unknown = sorted(set(space.parameters) - self._asked - OURS)
        if unknown and self._training.model != "mlp" and not self._left_out:
            known = ", ".join(sorted(self._asked)) or "nothing"
            raise Refused(
                f"The space has {', '.join(unknown)}, which {self._training.model!r} never asks for; it asks for "
                f"{known}. Remove what is not asked for, or correct its name."
            )


def _export(model: keras.Model, parts: Parts) -> None:
    state = parts.preprocessing
    served = model if state is None else servable(model, state)
    sources = None if state is None else {entry["input"]: entry["name"] for entry in state["columns"]}
    with tempfile.TemporaryDirectory(prefix="ockham-check-") as folder:
        sample = probe(parts.validation, state, 2)
        try:
            write_saved_model(served, sample, Path(folder) / "model", about={}, labels=parts.labels, sources=sources)
        except ExportRefused as error:
            raise Refused(str(error)) from error
        finally:
            dismantle(model)


def _few_rows(parts: Parts, rows: int) -> Parts:
    return replace(parts, train=_head(parts.train, rows), validation=_head(parts.validation, rows), test=None)


def _head(part: Part, rows: int) -> Part:
    if part.dataset is not None:
        return Part(dataset=part.dataset.take(2))
    x, y = (tf.nest.map_structure(lambda array: array[:rows], arrays) for arrays in (part.x, part.y))
    return Part(x, y, None if part.weight is None else part.weight[:rows], rows=min(rows, part.rows or rows))


def _shapes(parts: Parts) -> str:
    if parts.train.dataset is not None:
        return f"elements {parts.train.dataset.element_spec}"
    targets = tf.nest.map_structure(lambda array: f"{tuple(array.shape[1:])} {array.dtype}", parts.train.y)
    return f"inputs of shape {parts.input_shape} and targets of shape {targets} per row"
