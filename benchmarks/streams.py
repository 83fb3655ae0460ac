"""Trials over a tf.data pipeline: together, where a batch is read once for all of them, and alone, by Keras' fit.

    .venv/bin/python benchmarks/streams.py [dense|convolution] [--members 8] [--epochs 3] [--json]

2,000 pictures of 32 x 32 that are decoded from PNG, cropped, mirrored and made brighter or darker as they are read, in
batches of 32; 500 to validate on. Members differ in learning rate, L1 and L2. Each way has a process of its own, with
TensorFlow on one thread, as a worker of one CPU has it. The clock starts when it has imported its libraries and made
the pictures, so it holds every trace, and ends with the last trial. The losses of both have to agree.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = ("together", "alone")
CLASSES, TRAINING, VALIDATION, BATCH, SIDE, CROP = 10, 2000, 500, 32, 32, 16
TOLERANCE = 1e-2  # relative, of a last epoch's loss


def pictures() -> Any:
    """The train and the validation dataset."""
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    y = random.integers(0, CLASSES, TRAINING + VALIDATION)
    ideals = np.kron(random.uniform(60, 190, (CLASSES, 4, 4, 3)), np.ones((SIDE // 4, SIDE // 4, 1)))
    pixels = (ideals[y] + random.normal(0, 40, (len(y), SIDE, SIDE, 3))).clip(0, 255).astype("uint8")
    with tf.device("CPU:0"):
        encoded = tf.stack([tf.io.encode_png(picture) for picture in pixels])

    def read(png: Any, number: Any, label: Any) -> Any:
        picture = tf.image.resize(tf.ensure_shape(tf.io.decode_png(png, 3), [SIDE, SIDE, 3]), [CROP + 4, CROP + 4])
        seed = tf.stack([number, 7])
        picture = tf.image.stateless_random_crop(picture / 255.0, [CROP, CROP, 3], seed)
        picture = tf.image.stateless_random_flip_left_right(picture, seed)
        return tf.image.stateless_random_brightness(picture, 0.2, seed), label

    def dataset(rows: slice) -> Any:
        return tf.data.Dataset.from_tensor_slices((encoded[rows], tf.range(len(y))[rows], y[rows]))

    train = dataset(slice(TRAINING)).shuffle(TRAINING, seed=1, reshuffle_each_iteration=False)
    return tuple(part.map(read).batch(BATCH).prefetch(1) for part in (train, dataset(slice(TRAINING, None))))


def dense(hp: Any) -> Any:
    return _model(hp, lambda layers, penalty: [layers.Flatten(), layers.Dense(32, "relu", kernel_regularizer=penalty)])


def convolution(hp: Any) -> Any:
    return _model(
        hp,
        lambda layers, penalty: [
            layers.Conv2D(16, 3, activation="relu", kernel_regularizer=penalty),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu", kernel_regularizer=penalty),
            layers.GlobalAveragePooling2D(),
        ],
    )


def _model(hp: Any, hidden: Any) -> Any:
    import keras

    penalty = keras.regularizers.L1L2(hp.Float("l1", 0.0, 1e-2), hp.Float("l2", 0.0, 1e-2))
    body = hidden(keras.layers, penalty)
    model = keras.Sequential([keras.Input((CROP, CROP, 3)), *body, keras.layers.Dense(CLASSES, "softmax")])
    optimizer, loss = keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-2)), "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)  # XLA compiles for seconds in each trial
    return model


def measured(model: str, way: str, members: int, epochs: int) -> dict[str, Any]:
    """Seconds and CPU-seconds from the first build to the last trial's end, and each trial's last validation loss."""
    from workers.contract import Assignment, Member, Resources, Training
    from workers.devices import prepare

    prepare(Resources(cpus=1))
    from workers.cohorts.training import Cohort
    from workers.data import load
    from workers.worker import Trainer, Turns

    points = [{"rate": 1e-4 * 1.5**place, "l1": 1e-5 * place, "l2": 1e-4 * place} for place in range(members)]
    with tempfile.TemporaryDirectory() as folder:
        training = Training(
            study="streams", model=f"benchmarks.streams:{model}", loop=False, space=None,
            data={"function": "benchmarks.streams:pictures"}, objective="val_data_loss", direction="minimize",
            epochs=epochs, patience=None, checkpoint_seconds=1e9, artifacts=folder, import_paths=(str(ROOT),),
        )  # fmt: skip
        load({"function": "benchmarks.streams:pictures"}, (str(ROOT),))
        trials = tuple(Member(number, 1, point, number) for number, point in enumerate(points))
        assignment = Assignment(way, training, trials)
        began, used = time.perf_counter(), time.process_time()
        cohort, reasons = Cohort.of(assignment) if way == "together" else (None, {})
        trainer: Trainer = cohort or Turns(assignment)
        trainer.start()
        events = trainer.advance(epochs, 3600.0, ())
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        trainer.stop(20.0)
    losses = {report.trial: report.metrics["val_data_loss"] for report in events.reports if report.epoch == epochs}
    if reasons or len(losses) < members:
        raise SystemExit(f"{len(losses)} of {members} trials ended; alone are {reasons}.")
    return {"seconds": seconds, "cpu_seconds": cpu, "losses": [losses[number] for number in range(members)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="dense", choices=["dense", "convolution"])
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    for way in WAYS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[way] = pool.submit(measured, options.model, way, options.members, options.epochs).result()
        print(f"{way:<9} {found[way]['seconds']:7.1f} s, {found[way]['cpu_seconds']:7.1f} CPU-s", flush=True)
    pairs = zip(*(found[way]["losses"] for way in WAYS), strict=True)
    apart = max(abs(ours - theirs) / theirs for ours, theirs in pairs)
    ratio = found["alone"]["cpu_seconds"] / found["together"]["cpu_seconds"]
    print(f"alone takes {ratio:.1f} times the CPU-seconds; the last losses are {apart:.1e} apart")
    if options.json:
        print(json.dumps({**vars(options), **found, "ratio": ratio, "apart": apart}))
    if apart > TOLERANCE:
        raise SystemExit(f"Losses are {apart:.1e} apart, expected at most {TOLERANCE}: the work is not the same.")


if __name__ == "__main__":
    main()
