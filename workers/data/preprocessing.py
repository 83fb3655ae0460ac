"""Raw columns to one matrix, as Keras layers: the same layers make the training matrix and sit in the served model.

Numbers become (value - mean) / deviation of the train rows, a missing number 0 (the mean). Text, whole numbers that
name categories and booleans become one-hot, with a place in front for what the train rows did not have. The state
(workers/data/columns.py) is plain JSON; nothing else is needed to build the layers again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

CHUNK = 16_384  # rows encoded at a time
DTYPES = {"number": "float32", "text": "string", "integer": "int64", "bool": "bool"}


def encode(columns: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> np.ndarray:
    """The float32 matrix (rows, state["width"]) of raw columns, each (rows,), by column name."""
    encoder = _encoder(json.dumps(state, sort_keys=True))
    rows = len(next(iter(columns.values())))
    matrix = np.empty((rows, state["width"]), np.float32)
    with tf.device("CPU:0"):  # text lives in main memory
        for start in range(0, rows, CHUNK):
            chunk = {entry["input"]: columns[entry["name"]][start : start + CHUNK] for entry in state["columns"]}
            matrix[start : start + CHUNK] = encoder({name: tf.convert_to_tensor(x) for name, x in chunk.items()})
    matrix.flags.writeable = False  # all trials of a process share it
    return matrix


def servable(core: keras.Model, state: Mapping[str, Any]) -> keras.Model:
    """`core`, which takes the encoded matrix, behind the encoding: takes {input name: (rows,)} of raw columns."""
    inputs = _inputs(state)
    return keras.Model(inputs, core(_encoded(inputs, state), training=False), name="servable")


@functools.lru_cache(maxsize=4)
def _encoder(state: str) -> keras.Model:
    form = json.loads(state)
    inputs = _inputs(form)
    return keras.Model(inputs, _encoded(inputs, form), name="encoder")


def _inputs(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        entry["input"]: keras.Input((), name=entry["input"], dtype=DTYPES[entry["kind"]]) for entry in state["columns"]
    }


def _encoded(inputs: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    numbers = [entry for entry in state["columns"] if entry["kind"] == "number"]
    others = [entry for entry in state["columns"] if entry["kind"] != "number"]
    blocks = [_one_hot(inputs[entry["input"]], entry, index) for index, entry in enumerate(others)]
    if numbers:
        blocks.insert(0, _scaled([inputs[entry["input"]] for entry in numbers], numbers))
    return keras.layers.Concatenate(name="encoded")(blocks) if len(blocks) > 1 else blocks[0]


def _scaled(inputs: list[Any], entries: list[Mapping[str, Any]]) -> Any:
    columns = keras.ops.stack(inputs, axis=1)
    mean, variance = ([entry[key] for entry in entries] for key in ("mean", "variance"))
    scaled = keras.layers.Normalization(axis=-1, mean=mean, variance=variance, name="numbers")(columns)
    return keras.ops.where(keras.ops.isnan(scaled), 0.0, scaled)


def _one_hot(column: Any, entry: Mapping[str, Any], index: int) -> Any:
    options = {"output_mode": "one_hot", "num_oov_indices": 1, "name": f"categories_{index}"}
    vocabulary = entry["vocabulary"]
    one = keras.ops.expand_dims(column, axis=1)
    if entry["kind"] == "text":
        unknown = next(text for text in ("[UNK]", "[UNKNOWN]", "\0") if text not in vocabulary)
        return keras.layers.StringLookup(vocabulary=vocabulary, oov_token=unknown, **options)(one)
    if entry["kind"] == "bool":
        one = keras.ops.cast(one, "int64")
    unknown_number = min([0, *vocabulary]) - 1
    return keras.layers.IntegerLookup(vocabulary=vocabulary, oov_token=unknown_number, **options)(one)
