"""One Keras trial: build, feed, fit, split the penalty, stop early, save.

The same way for the `mlp` family, a user's `build(hp)` and a HyperModel. Only a HyperModel with its own `fit`
feeds itself: it gets arrays, as from KerasTuner.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import keras
import tensorflow as tf

from workers.contract import Training
from workers.data import Part, Parts, load
from workers.trials import keras_files, models
from workers.trials.checkpoints import Checkpoints
from workers.trials.feeding import Feed
from workers.trials.gate import Lane, TrialFinished
from workers.trials.graphs import dismantle
from workers.trials.passage import Passage, numbers_of
from workers.trials.penalty import PenaltySplit
from workers.trials.progress import Progress, require_finite
from workers.trials.seeds import set_seeds

logger = logging.getLogger("ockham.worker")

BATCH_SIZE = 32
WORK_PER_EXECUTION = 2e8  # weights times rows between two looks at the gate: about a tenth of a second on a core


def train_model(lane: Lane, training: Training) -> int | None:
    """Train a trial to its end; returns its best epoch, whose weights are saved as the trial's model."""
    if training.data is None:
        raise ValueError("A Keras study needs data: a file with a target column, or 'module:function'.")
    parts = load(training.data, training.import_paths, lane.member.trial)
    lane.batch(0)
    set_seeds(lane.member.seed, keras=True)
    trial = Trial(lane, training, models.build(training, lane.member.params, parts), parts)
    try:
        return trial.run()
    finally:
        trial.close()


class Trial:
    """One attempt at one trial."""

    def __init__(self, lane: Lane, training: Training, built: models.Built, parts: Parts) -> None:
        self._lane, self._training, self._built, self._parts = lane, training, built, parts
        self._progress = Progress()
        self._best: list[Any] | None = None
        self._checkpoints = Checkpoints(training)
        self._model = built.model
        self._split = PenaltySplit(self._model)

    def run(self) -> int | None:
        """Train, from the checkpoint if there is a good one, and save the best weights."""
        self._resume()
        try:
            if not self._progress.over(self._training):
                self._lane.arrive(self._progress.epoch)
                self._fit()
        except TrialFinished:
            pass
        if self._progress.epoch == 0:
            raise ValueError("The model's fit ended without finishing an epoch.")
        return self._finish()

    def finish_epoch(self, metrics: dict[str, float], seconds: float) -> None:
        """Take in one epoch: report it, remember the best weights, save, and wait at the gate."""
        if self._progress.over(self._training):
            raise TrialFinished  # a fit that goes on past its end
        epoch = self._progress.epoch + 1
        self._lane.report(epoch, metrics, seconds)
        require_finite(self._training, epoch, metrics)
        if not self._model.built:
            self._build_variables()  # a train step of the user's that calls parts of the model, and never all of it
        if self._progress.update(self._training, epoch, metrics):
            self._best = self._model.get_weights()
        if self._progress.over(self._training):
            self._model.stop_training = True
            return
        if self._checkpoints.due([self._lane]):
            with keras_files.checkpoint(self._model, self._best, self._progress) as files:
                self._checkpoints.save("checkpoint", {self._lane: epoch}, files)
        self._lane.arrive(epoch)

    def close(self) -> None:
        """Free the model's graphs."""
        dismantle(self._model)

    @property
    def model(self) -> keras.Model:
        """The model as it is now; it is built again where a checkpoint turns out to be another model's."""
        return self._model

    def _fit(self) -> None:
        if self._built.fit is not None:
            self._fit_by_user()
            return
        batch_size = int(self._lane.member.params.get("batch_size", BATCH_SIZE))
        feed = Feed(self._parts.train, self._parts.validation, batch_size, self._training.seed)
        if steps_are_ours(self._model):
            self._model.steps_per_execution = steps_per_execution(work_per_row(self._model), batch_size)
            self._build_variables()  # what is made while fit traces the train step has it traced once more
            build_metrics(self._model, feed.train.element_spec)
        self._model.fit(
            feed.train,
            shuffle=False,
            validation_data=feed.validation,
            initial_epoch=self._progress.epoch,
            epochs=self._training.epochs,
            callbacks=[Passage(self._lane, self._split, feed.begin, self.finish_epoch)],
            verbose=0,
        )

    def _fit_by_user(self) -> None:
        """Call the HyperModel's own `fit` with what KerasTuner's `search` would hand on."""
        x, validation = _arrays(self._parts.train), _arrays(self._parts.validation)
        given: dict[str, Any] = {
            "validation_data": validation if len(validation) > 1 else validation[0],
            "epochs": self._training.epochs,
            "callbacks": [Passage(self._lane, self._split, None, self.finish_epoch)],
            "verbose": 0,
        }
        if len(x) == 3:
            given["sample_weight"] = x[2]
        if self._progress.epoch:
            given["initial_epoch"] = self._progress.epoch
        result = self._call_user(x[:2], given)
        if self._progress.epoch == 0:  # a training loop of its own, which says its metrics at the end
            self.finish_epoch(_metrics_of(result, self._training.objective), 0.0)

    def _call_user(self, data: tuple[Any, ...], given: dict[str, Any]) -> Any:
        fit = self._built.fit
        if fit is None:
            raise TypeError("This HyperModel has no fit of its own.")
        began = self._lane.batches
        while True:
            try:
                return fit(self._built.hp, self._model, *data, **given)
            except TypeError as error:
                # `model.fit(*args, epochs=hp.Int("epochs", ...), **kwargs)`: the user's own value goes first.
                twice = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
                if twice is None or twice[1] not in given or self._lane.batches > began:
                    raise
                del given[twice[1]]

    def _resume(self) -> None:
        folder = self._checkpoints.open(self._lane)
        if folder is None:
            return
        try:
            self._build_variables()
            self._best, self._progress = keras_files.resume(self._model, folder)
        except keras_files.NotThisModel as error:
            self._checkpoints.refuse(self._lane, error)
            set_seeds(self._lane.member.seed, keras=True)
            self._built = models.build(self._training, self._lane.member.params, self._parts)
            self._model = self._built.model
            self._split = PenaltySplit(self._model)

    def _build_variables(self) -> None:
        """Make a model that is built on its first call, and its optimizer, have their variables."""
        keras_files.build_variables(self._model, self._parts)

    def _finish(self) -> int | None:
        if self._best is None or self._progress.best_epoch is None:
            return None
        self._model.set_weights(self._best)
        self._lane.weights = sum(weight.size for weight in self._best)
        with keras_files.model(self._model, self._parts) as files:
            self._checkpoints.save("model", {self._lane: self._progress.best_epoch}, files)
        return self._progress.best_epoch


def steps_per_execution(work: float, batch_size: int) -> int:
    """How many batches one call of the compiled function trains: many for small models, 1 for large ones.

    `work`: multiplications that a row costs. Between two calls the gate is looked at, so a call should stay near a
    tenth of a second.
    """
    return int(min(64, max(1, WORK_PER_EXECUTION / (work * batch_size))))


def work_per_row(model: keras.Model) -> float:
    """Multiplications that a row costs, about: one per weight, or, in a layer whose output has positions (convolution,
    recurrence), one per weight and position.
    """
    work = 1.0
    for layer in model._flatten_layers(include_self=False):
        weights = sum(int(tf.size(weight.value)) for weight in getattr(layer, "_trainable_variables", ()))
        work += weights * _positions(layer)
    return work


def _positions(layer: Any) -> int:
    try:
        shape = layer.output.shape[1:-1]
    except (AttributeError, ValueError, RuntimeError):
        return 64  # it does not say, as in a subclassed model: assume some
    return int(tf.reduce_prod([axis or 64 for axis in shape])) if len(shape) else 1


def steps_are_ours(model: keras.Model) -> bool:
    """Whether the user left the batches per call to us: nothing compiled in, nothing that could see a difference."""
    plain = type(model).train_step is keras.Model.train_step and type(model).test_step is keras.Model.test_step
    return plain and model.steps_per_execution == 1 and not model.run_eagerly and model.built


def build_metrics(model: keras.Model, batch: Any) -> None:
    """Have the compiled loss and metrics make their variables. `batch`: the specification of one of the dataset's."""
    try:
        like = tf.nest.map_structure(lambda spec: keras.KerasTensor(spec.shape.as_list(), spec.dtype.name), batch)
        model._symbolic_build(data_batch=like)
    except Exception:  # what cannot be done without data is done by fit, and whatever is wrong is said there
        logger.debug("The metrics are made while the train step is traced.", exc_info=True)


def _arrays(part: Part) -> tuple[Any, ...]:
    if part.dataset is not None:
        return (part.dataset,)
    return (part.x, part.y) if part.weight is None else (part.x, part.y, part.weight)


def _metrics_of(result: Any, objective: str) -> dict[str, float]:
    """What a `fit` returned, as KerasTuner reads it: a History, a dictionary of metrics or the objective itself."""
    if isinstance(result, keras.callbacks.History):
        return {name: float(values[-1]) for name, values in result.history.items()}
    if isinstance(result, dict):
        return numbers_of(result)
    if isinstance(result, int | float):
        return {objective: float(result)}
    raise ValueError(
        f"fit returned {type(result).__name__} and called none of its callbacks; expected the History of model.fit, "
        "a dictionary of metrics or the objective as a number."
    )
