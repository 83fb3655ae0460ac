"""What a served model is called with: one named tensor per input, whatever structure its Keras model takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from workers.data.columns import input_names

_AUTOMATIC = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


@dataclass(frozen=True)
class Signature:
    """Named inputs of a model, and the way from them to what the model is called with."""

    specs: dict[str, tf.TensorSpec]  # input name -> shape with a free batch axis, and type
    structure: Any  # the names, in the structure that the model takes
    sources: dict[str, str]  # input name -> the column or key it stands for

    def arrange(self, named: Mapping[str, Any]) -> Any:
        """The model's argument from named tensors."""
        return _map(lambda name: named[name], self.structure)

    def name(self, value: Any) -> dict[str, Any]:
        """Named tensors, in the signature's types, from an argument of the model's structure."""
        found: dict[str, Any] = {}

        def put(name: str, array: Any) -> None:
            spec = self.specs[name]
            tensor = tf.convert_to_tensor(array)
            found[name] = tensor if tensor.dtype == spec.dtype else tf.cast(tensor, spec.dtype)

        _walk(put, self.structure, value)
        return found


def signature_of(model: keras.Model, sample: Any) -> Signature:
    """The signature of a model that is called with `sample` (arrays or tensors with a batch axis).

    Inputs that the user named keep their names; a single unnamed one is called `inputs`, several `input_1`, ....
    Shapes and types are those that a Functional or Sequential model declares, else those of the sample.
    """
    declared = _declared(model, sample)
    paths = [path for path, _ in _items(sample)]
    wanted = [_wanted(path, index, len(paths), declared) for index, path in enumerate(paths)]
    names = dict(zip(paths, input_names(wanted), strict=True))
    specs = {names[path]: _spec(names[path], leaf, declared.get(path)) for path, leaf in _items(sample)}
    sources = dict(zip(names.values(), wanted, strict=True))
    return Signature(specs, _rebuild(sample, (), names), sources)


def name_outputs(model: keras.Model, value: Any) -> dict[str, Any]:
    """Named outputs: `predictions` for a single one, otherwise the model's own names."""
    if isinstance(value, Mapping):
        return {name: value[key] for key, name in zip(value, input_names([str(key) for key in value]), strict=True)}
    if not isinstance(value, list | tuple):
        return {"predictions": value}
    own = list(getattr(model, "output_names", ()))
    if len(own) != len(value) or len(set(own)) != len(own):
        own = [f"output_{number}" for number in range(1, len(value) + 1)]
    return dict(zip(input_names(own), value, strict=True))


def _declared(model: keras.Model, sample: Any) -> dict[tuple[Any, ...], Any]:
    """For every leaf of the sample the Keras input it goes to, where the model says so."""
    inputs, items = _inputs(model), _items(sample)
    by_name = {tensor.name: tensor for tensor in inputs}
    if isinstance(sample, Mapping):
        struct = model.input if inputs and isinstance(model.input, Mapping) else by_name
        return {path: struct[path[0]] for path, _ in items if len(path) == 1 and path[0] in struct}
    return {path: tensor for (path, _), tensor in zip(items, inputs, strict=False)} if len(items) == len(inputs) else {}


def _inputs(model: keras.Model) -> list[Any]:
    """The declared inputs of a Functional or Sequential model; none of a subclassed one."""
    try:
        return list(model.inputs or ())
    except (AttributeError, ValueError):
        return []


def _wanted(path: tuple[Any, ...], index: int, count: int, declared: Mapping[tuple[Any, ...], Any]) -> str:
    if path and isinstance(path[-1], str):
        return ".".join(map(str, path))
    own = getattr(declared.get(path), "name", "")
    if own and not _AUTOMATIC.fullmatch(own):
        return str(own)
    return "inputs" if count == 1 else f"input_{index + 1}"


def _spec(name: str, leaf: Any, declared: Any) -> tf.TensorSpec:
    if declared is not None:
        return tf.TensorSpec((None, *declared.shape[1:]), tf.as_dtype(declared.dtype), name=name)
    tensor = tf.convert_to_tensor(leaf[:1])
    dtype = tf.float32 if tensor.dtype == tf.float64 else tensor.dtype
    return tf.TensorSpec((None, *tensor.shape[1:]), dtype, name=name)


def _items(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Mapping):
        return [item for key in value for item in _items(value[key], (*path, key))]
    if isinstance(value, list | tuple):
        return [item for index, part in enumerate(value) for item in _items(part, (*path, index))]
    return [(path, value)]


def _rebuild(value: Any, path: tuple[Any, ...], names: Mapping[tuple[Any, ...], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _rebuild(item, (*path, key), names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_rebuild(item, (*path, index), names) for index, item in enumerate(value))
    return names[path]


def _map(function: Callable[[str], Any], structure: Any) -> Any:
    if isinstance(structure, Mapping):
        return {key: _map(function, item) for key, item in structure.items()}
    if isinstance(structure, tuple):
        return tuple(_map(function, item) for item in structure)
    return function(structure)


def _walk(function: Callable[[str, Any], None], structure: Any, value: Any) -> None:
    if isinstance(structure, Mapping):
        for key, item in structure.items():
            _walk(function, item, value[key])
    elif isinstance(structure, tuple):
        for index, item in enumerate(structure):
            _walk(function, item, value[index])
    else:
        function(structure, value)
