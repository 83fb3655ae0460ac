"""A network of the `mlp` family as one row of numbers: where each weight is, how it begins, and back to Keras.

The numbers stand in the order of `keras.Model.get_weights()`: per hidden layer its kernel (by rows), its bias and, for
`prelu`, its slopes; then the kernel and the bias of the output layer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

HIGHEST_SEED = int(1e9)  # of what Keras draws for an initializer that was given none


@dataclass(frozen=True)
class Layout:
    """The shape of a network: what members of one stack have in common."""

    inputs: int
    depth: int  # hidden layers
    width: int  # units of each
    outputs: int
    slopes: bool  # whether every hidden unit has a slope of its own (prelu)

    @property
    def dims(self) -> list[int]:
        """Units from the inputs to the outputs, depth + 2 numbers."""
        return [self.inputs, *[self.width] * self.depth, self.outputs]

    @property
    def sizes(self) -> list[int]:
        """Numbers per block: kernel, bias and slopes of each layer; a layer without slopes has 0 of them."""
        sizes = []
        for layer, (rows, columns) in enumerate(zip(self.dims, self.dims[1:], strict=False)):
            sizes += [rows * columns, columns, columns if self.slopes and layer < self.depth else 0]
        return sizes

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return sum(self.sizes)

    def initial(self, seed: int, dropout: bool) -> np.ndarray:
        """The weights that a Keras model has which is built after `set_seeds(seed)`; float32 (size,).

        Keras draws a seed for each initializer, and for each layer that drops, when the layer is created.
        """
        draw = random.Random(seed)
        blocks: list[np.ndarray] = []
        for layer, (rows, columns) in enumerate(zip(self.dims, self.dims[1:], strict=False)):
            kernel = keras.initializers.GlorotUniform(seed=draw.randint(1, HIGHEST_SEED))((rows, columns))
            blocks += [np.asarray(kernel).ravel(), np.zeros(columns, "float32")]
            if layer < self.depth:
                blocks.append(np.zeros(columns if self.slopes else 0, "float32"))
                if dropout:
                    draw.randint(1, HIGHEST_SEED)
        return np.concatenate(blocks)

    def weights(self, row: np.ndarray) -> list[np.ndarray]:
        """A row as the arrays that `keras.Model.set_weights` takes."""
        arrays = []
        for block, part in enumerate(np.split(row, np.cumsum(self.sizes)[:-1])):
            layer, kind = divmod(block, 3)
            if part.size:
                arrays.append(part.reshape(self.dims[layer : layer + 2] if kind == 0 else -1))
        return arrays


def layout_of(params: Mapping[str, Any], inputs: int, outputs: int) -> Layout:
    """The layout of a trial's network. `params`: complete, see workers.trials.models.DEFAULTS."""
    return Layout(inputs, params["depth"], params["width"], outputs, params["activation"] == "prelu")
