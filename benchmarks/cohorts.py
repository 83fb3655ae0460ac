"""Ockham beside Optuna with Keras: the same configurations, data, epochs and cores; no pruning, no early stopping.

    .venv/bin/python benchmarks/cohorts.py [--trials 512] [--peer-trials 24] [--rounds 3] [--json]

The configurations are structures of depth 1 to 4 and width 16 to 128, 16 variations of each, on the digits for 20
epochs. The peer trains some of them, spread over the list, in two processes, each with a compiled `fit` over `tf.data`
and `steps_per_execution` of a whole epoch, as its documentation advises for small models. Ockham runs a study on two
worker processes, its database and its coordinator included. Either clock starts when both processes have loaded the
data and trained one network of depth 5, a depth that is not measured. The medians of the validation errors are
printed: both do the same work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

EPOCHS, BATCH, VARIATIONS, PROCESSES = 20, 32, 16, 2
WARM_DEPTH = 5  # of the network that is trained before the clock starts: none of the measured ones
ACTIVATIONS, OPTIMIZERS = ("relu", "tanh", "elu", "gelu"), ("adam", "rmsprop", "adamw")


def configurations(count: int) -> list[dict[str, Any]]:
    """The fixed list: every `VARIATIONS` of them share a structure."""
    draw = random.Random(0)
    points: list[dict[str, Any]] = []
    while len(points) < count:
        structure = {
            "depth": draw.randint(1, 4),
            "width": int(16 * 8 ** draw.random()),
            "activation": draw.choice(ACTIVATIONS),
            "optimizer": draw.choice(OPTIMIZERS),
        }
        for _ in range(VARIATIONS):
            numbers = {"learning_rate": 10 ** draw.uniform(-4, -2), "l2": 10 ** draw.uniform(-6, -2)}
            points.append({**structure, **numbers, "l1": 0.0, "dropout": 0.0, "batch_size": BATCH})
    return points[:count]


def peer_worker(points: list[dict[str, Any]], ready: Any, begin: Any, answers: Any) -> None:
    """One process of the peer: its share of the configurations, one `fit` after the other."""
    import keras
    import optuna
    import tensorflow as tf

    from examples.digits import load

    tf.config.threading.set_intra_op_parallelism_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (x, y), (x_val, y_val) = load()[:2]
    train = tf.data.Dataset.from_tensor_slices((x, y)).cache().shuffle(len(x)).batch(BATCH).prefetch(4)
    validation = tf.data.Dataset.from_tensor_slices((x_val, y_val)).batch(512).cache()

    def objective(trial: optuna.Trial) -> float:
        point = points[trial.number]
        keras.utils.clear_session()
        penalty = keras.regularizers.L2(point["l2"])
        hidden = [
            keras.layers.Dense(point["width"], point["activation"], kernel_regularizer=penalty)
            for _ in range(point["depth"])
        ]
        model = keras.Sequential(
            [keras.Input(x.shape[1:]), keras.layers.Flatten(), *hidden, keras.layers.Dense(10, "softmax")]
        )
        optimizer = keras.optimizers.get(
            {"class_name": point["optimizer"], "config": {"learning_rate": point["learning_rate"]}}
        )
        model.compile(
            optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], steps_per_execution=len(train)
        )
        history = model.fit(train, validation_data=validation, epochs=EPOCHS, verbose=0)
        return 1.0 - float(max(history.history["val_accuracy"]))

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [{**points[0], "depth": WARM_DEPTH}, *points]
    study.optimize(objective, n_trials=1)
    ready.release()
    begin.wait()
    study.optimize(objective, n_trials=len(points) - 1)
    answers.put([trial.value for trial in study.trials[1:]])


def peer(points: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Trials per minute, and the best validation errors."""
    context = multiprocessing.get_context("spawn")
    ready, begin, answers = context.Semaphore(0), context.Event(), context.Queue()
    shares = [points[number::PROCESSES] for number in range(PROCESSES)]
    workers = [context.Process(target=peer_worker, args=(share, ready, begin, answers)) for share in shares]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    started = time.perf_counter()
    begin.set()
    errors = [error for _ in workers for error in answers.get()]
    seconds = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return 60 * len(points) / seconds, errors


def ockham(points: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """The same for a study that tries these points, on workers that have trained a trial of another study before."""
    import tuner
    from search_spaces import mlp
    from tuner.configuration import Settings
    from tuner.coordinator import Coordinator
    from tuner.databases import open_database
    from tuner.submission import submit
    from workers.contract import CheckReport
    from workers.launchers import launcher

    space = mlp(
        depth=(1, WARM_DEPTH), width=(16, 128), learning_rate=(1e-4, 1e-2), l2=(1e-6, 1e-2), l1=0.0, dropout=0.0
    )
    options: dict[str, Any] = {
        "sampler": "random",
        "pruner": "none",
        "patience": None,
        "epochs": EPOCHS,
        "cohort": VARIATIONS,
        "keep": 5,
    }
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.load({}, home=Path(home), import_paths=str(ROOT))
        workers = launcher("processes", workers=PROCESSES)
        seconds = 0.0
        warm = [{**points[0], "depth": WARM_DEPTH}] * PROCESSES
        for name, given in (("warm", warm), ("cohorts", points)):
            extra = {"cohort": 1} if name == "warm" else {}
            study = tuner.create_study(
                name,
                data="examples.digits:load",
                space=space,
                settings=settings,
                trials=len(given),
                enqueue=given,
                **{**options, **extra},
            )
            submit(study.definition, lambda _: CheckReport(), settings)
            with open_database(settings) as database:
                seconds = loop(Coordinator(database, workers, settings, only=name))
        errors = [1.0 - max(curve) for curve in accuracies(settings)]
        workers.close()
    return 60 * len(points) / seconds, errors


def loop(coordinator: Any) -> float:
    """Run the coordinator to its study's end, as `tuner run` does; the seconds that took."""
    started = time.perf_counter()
    busy = coordinator.step()
    while coordinator.studies:
        if not busy:
            coordinator.wait(0.05)
        busy = coordinator.step()
    coordinator.close()
    return time.perf_counter() - started


def accuracies(settings: Any) -> list[list[float]]:
    """The validation accuracy of each trial by epoch."""
    from db import reports, trials
    from tuner.databases import open_database
    from tuner.results import study_row

    with open_database(settings) as database, database.read() as s:
        rows = trials.all(s, study_row(database, "cohorts").id)
        return [[report.metrics["val_accuracy"] for report in reports.curve(s, row.id)] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=512)
    parser.add_argument("--peer-trials", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    arguments = parser.parse_args()
    points = configurations(arguments.trials)
    spread = points[:: max(1, len(points) // arguments.peer_trials)][: arguments.peer_trials]
    rates: dict[str, list[float]] = {"ockham": [], "optuna": []}
    errors: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, run, given in (("ockham", ockham, points), ("optuna", peer, spread)):
            rate, found = run(given)
            rates[name].append(rate)
            errors[name] = statistics.median(found)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        ratio, error = rate / medians["optuna"], errors[name]
        print(f"{name:10}{rate:10.1f} trials/min{ratio:8.1f}x     median validation error {error:.4f}")
    if arguments.json:
        print(json.dumps({"trials_per_minute": medians, "rounds": rates, "median_error": errors, "epochs": EPOCHS}))


if __name__ == "__main__":
    main()
