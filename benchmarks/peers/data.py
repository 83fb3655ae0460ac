"""The data of the benchmarks as arrays, the same rows on every call; three parts (train, validation, test) each.

`x` is float32 (rows, features), standardised by its train part; `y` is int64 (rows,) for classes and float32 (rows,),
standardised as well, for numbers: a squared error is then a share of the targets' variance. The digits come with the
project. The other files lie in the folder that OCKHAM_BENCHMARK_DATA names, by default ../shared/data of the project:

    tabular/adult.tsv.gz         48,842 people: is the income above 50,000 dollars? 108 features, 2 classes (PMLB)
    tabular/segmentation.tsv.gz  2,310 patches of pictures: 19 features, 7 classes (PMLB)
    california/california_sklearn.csv.gz  20,640 districts: 8 features, the median value of a house
    fashion_mnist/*.gz           60,000 pictures of clothes, 28 x 28, 10 classes; every fifth of them is taken
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from examples.digits import load as _load_digits

VARIABLE = "OCKHAM_BENCHMARK_DATA"
DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data"
ADULT_CATEGORIES = (1, 3, 5, 6, 7, 8, 9, 13)  # places of the columns whose integers are names

Part = tuple[np.ndarray, np.ndarray]
Parts = tuple[Part, Part, Part]


@cache
def digits() -> Parts:
    """1,079, 359 and 359 pictures of 8 x 8 grey values from 0 to 1, flattened."""
    return _each(_load_digits(), lambda x: x.reshape(len(x), -1))


@cache
def adult() -> Parts:
    """29,306, 9,768 and 9,768 rows."""
    table = _table("tabular/adult.tsv.gz", "\t")
    columns = []
    for place, column in enumerate(table[:, :-1].T):
        names = np.unique(column)
        columns.append(column[:, None] == names if place in ADULT_CATEGORIES else column[:, None])
    return _split(np.concatenate(columns, axis=1), table[:, -1].astype(np.int64))


@cache
def segmentation() -> Parts:
    """1,386, 462 and 462 rows."""
    table = _table("tabular/segmentation.tsv.gz", "\t")
    return _split(table[:, :-1], np.unique(table[:, -1], return_inverse=True)[1].astype(np.int64))


@cache
def california() -> Parts:
    """12,384, 4,128 and 4,128 rows."""
    table = _table("california/california_sklearn.csv.gz", ",")
    return _split(table[:, :-1], table[:, -1])


@cache
def fashion() -> Parts:
    """7,200, 2,400 and 2,400 pictures, flattened."""
    pictures = _bytes("fashion_mnist/train-images-idx3-ubyte.gz", 16).reshape(-1, 784)[::5]
    labels = _bytes("fashion_mnist/train-labels-idx1-ubyte.gz", 8)[::5]
    return _split(pictures / 255, labels.astype(np.int64))


def folder() -> Path:
    """Where the files are. SystemExit, in a sentence, where there is no such folder."""
    found = Path(os.environ.get(VARIABLE) or DEFAULT)
    if not found.is_dir():
        raise SystemExit(f"{found} is no folder: give --data, the folder with the files that {__name__} names.")
    return found


def _table(name: str, separator: str) -> np.ndarray:
    return np.loadtxt(folder() / name, delimiter=separator, skiprows=1)


def _bytes(name: str, header: int) -> np.ndarray:
    with gzip.open(folder() / name) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def _split(x: np.ndarray, y: np.ndarray) -> Parts:
    """60, 20 and 20 % of the shuffled rows, standardised."""
    order = np.random.RandomState(seed=0).permutation(len(x))
    held_out = len(x) // 5
    rows = np.split(order, [len(x) - 2 * held_out, len(x) - held_out])
    mean, spread = x[rows[0]].mean(axis=0), x[rows[0]].std(axis=0)
    x = ((x - mean) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    if y.dtype.kind == "f":
        y = ((y - y[rows[0]].mean()) / y[rows[0]].std()).astype(np.float32)
    train, validation, test = ((x[part], y[part]) for part in rows)
    return train, validation, test


def _each(parts: Any, change: Callable[[np.ndarray], np.ndarray]) -> Parts:
    train, validation, test = ((change(x), y) for x, y in parts)
    return train, validation, test
