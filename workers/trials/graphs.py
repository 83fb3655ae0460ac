"""Frees what TensorFlow keeps of a trained model.

A `tf.function` that is traced inside another one, as Keras does for its step functions, leaves a graph that refers
to itself through C++, where Python's collector does not see the cycle: 5 MB per trial, for ever. TensorFlow breaks
such cycles itself for functions that are called directly; here the same is done for Keras' own ones.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from typing import Any

import keras
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import dismantle_func_graph

_REDUCTION = "ReplicaContextBase.all_reduce."


def dismantle(model: keras.Model) -> None:
    """Free the graphs of a model's step functions. The model can be used on: it traces again when it has to."""
    for name in ("train_function", "test_function", "predict_function"):
        function = getattr(model, name, None)
        setattr(model, name, None)
        for traced in list(_traced(function, set())):
            for concrete in traced._list_all_concrete_functions():
                _free(concrete.graph)
    _forget_reductions()


def _forget_reductions() -> None:
    """Take the gradients of `all_reduce` off TensorFlow's register, where each keeps a graph alive.

    Keras' optimizers register one whenever a train step is traced. Only the tracing of a gradient asks for it, so no
    other trial of this process may be tracing now. Other custom gradients stay: user code may hold functions that
    need them.
    """
    registry = ops.gradient_registry._registry
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        if any(function.__qualname__.startswith(_REDUCTION) for function in _inside(registry[name]["type"])):
            del registry[name]


def _inside(function: Any) -> Iterator[types.FunctionType]:
    """The Python functions in a function's closure, and in theirs."""
    for cell in function.__closure__ or ():
        if isinstance(cell.cell_contents, types.FunctionType):
            yield cell.cell_contents
            yield from _inside(cell.cell_contents)


def _free(graph: Any) -> None:
    dismantle_func_graph(graph)
    # What is left in its attributes refers to operations, and each of these, in C++, to the graph. The class has no
    # __dict__ to ask for, but the collector knows the dictionary.
    for attributes in gc.get_referents(graph):
        if isinstance(attributes, dict):
            attributes.clear()


def _traced(value: Any, seen: set[int]) -> Iterator[Any]:
    """The `tf.function`s in the closures of a Python function of Keras, and in theirs."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if hasattr(value, "_list_all_concrete_functions"):
        yield value
        value = value.python_function
    function = getattr(value, "__func__", value)
    if isinstance(function, types.FunctionType) and function.__module__.startswith("keras."):
        for cell in function.__closure__ or ():
            yield from _traced(cell.cell_contents, seen)
