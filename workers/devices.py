"""What TensorFlow may use of this node: threads and memory of a card, set once per process."""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import platform
from typing import Any

from workers import collector
from workers.contract import Resources
from workers.launchers import machine

log = logging.getLogger("ockham.worker")

_OUTSIDE = 0.9  # share of a trial's part of a card for TensorFlow's allocator; CUDA's own context takes the rest


@functools.cache
def prepare(resources: Resources) -> None:
    """Import TensorFlow and hold it to `resources`: threads, visible cards and their memory.

    No card is visible with `gpus` 0; below 1 the first card's memory is limited to that fraction; from 1 on memory
    grows as needed. A process that has used TensorFlow already keeps its settings, and this is logged.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if platform.machine() in ("x86_64", "AMD64"):
        # TensorFlow's default on processors with AVX-512 alone; with AVX2 cohorts are a seventh faster for it.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with collector.paused():
        import tensorflow as tf

        threads = max(1, math.ceil(resources.cpus))
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            # No more than that: handing small operations from thread to thread makes a cohort a third slower.
            tf.config.threading.set_inter_op_parallelism_threads(threads)
            _limit_cards(tf, resources.gpus)
        except RuntimeError as error:
            log.warning("TensorFlow was in use before this worker began and keeps its settings: %s", error)
        import keras  # noqa: F401 - so that the next line covers it
    collector.settle()


def room(resources: Resources, each: int) -> int:
    """How many things of `each` bytes a worker should hold at a time, at least 1.

    All of them get half of the worker's share: of the machine's memory, and of its part of a card where it has one. The
    other half is for Python, TensorFlow, the data and what a step leaves behind.
    """
    workers = max(1, int(machine.cpus() / max(resources.cpus, 1e-9)))
    shares = [machine.memory() // workers]
    if resources.gpus > 0 and (card := _card_bytes(0)) is not None:
        shares.append(int(card * min(1.0, resources.gpus)))
    return max(1, min(shares) // 2 // max(1, each))


def _limit_cards(tf: Any, gpus: float) -> None:
    cards = tf.config.list_physical_devices("GPU")
    visible = cards[: math.ceil(gpus)]
    tf.config.set_visible_devices(visible, "GPU")
    for index, card in enumerate(visible):
        total = _card_bytes(index) if gpus < 1 else None
        if total is None:
            tf.config.experimental.set_memory_growth(card, True)
        else:
            megabytes = int(total * gpus * _OUTSIDE) >> 20
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=megabytes)
            tf.config.set_logical_device_configuration(card, [limit])


def _card_bytes(index: int) -> int | None:
    """Memory of the `index`-th card that this process may see, from the driver; None where it does not say."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, total = ctypes.c_int(), ctypes.c_size_t()
    calls = (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), index),
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), device),
    )
    return None if any(calls) else total.value
