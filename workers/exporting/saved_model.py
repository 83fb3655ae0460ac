"""A Keras model as a SavedModel folder that a server can load and that proves what it predicts.

saved_model.pb, variables/, ...      signature `serving_default` with named inputs and outputs
assets.extra/probe.json              a few inputs and the Keras model's predictions for them
assets.extra/labels.json             names of the classes, for a classifier
assets.extra/tf_serving_warmup_requests   the probe as a request, where tensorflow-serving-api is installed
assets.extra/ockham.json             where the model comes from, and the SHA-256 of every other file
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers.exporting.signatures import Signature, name_outputs, signature_of

EXTRA = "assets.extra"  # ignored by servers, kept by copies
PROBE, LABELS, MANIFEST = "probe.json", "labels.json", "ockham.json"
WARMUP = "tf_serving_warmup_requests"  # a name that TensorFlow Serving looks for
COARSE = {"float16": 4e-3, "bfloat16": 3e-2}  # four roundings
PROBE_NUMBERS = 500_000  # in the inputs of a probe together: about 10 MB of JSON


class ExportRefused(ValueError):
    """The model cannot be exported. One sentence."""


def write_saved_model(
    model: keras.Model,
    sample: Any,
    folder: Path,
    *,
    about: Mapping[str, Any],
    labels: list[Any] | None = None,
    sources: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write `model` into the new folder `folder` and sync it to the disk; returns the manifest.

    Args:
        model: takes what `sample` is; its predictions for the sample are recorded.
        sample: probe rows, arrays with a batch axis in the structure that the model takes.
        folder: must not exist, or be empty.
        about: goes into the manifest.
        labels: names of the classes.
        sources: input name -> column of the table, for the manifest; None: the signature's own.

    Raises:
        ExportRefused: the folder holds something, or a prediction is NaN or infinite.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ExportRefused(f"{folder} exists already and holds files: expected a new folder.")
    signature = signature_of(model, sample)
    named = signature.name(_limited(sample))
    outputs = _answer(model, signature, named)
    _require_finite(outputs)
    drawn = _differing(outputs, _answer(model, signature, named))
    _save(model, signature, folder)
    extra = folder / EXTRA
    extra.mkdir()
    probe = {"inputs": _json(named), "outputs": _json(outputs), "tolerance": _tolerance(model), "random": drawn}
    _dump(extra / PROBE, {"signature": "serving_default", **probe}, indent=None)
    if labels is not None:
        _dump(extra / LABELS, labels)
    if find_spec("tensorflow_serving") is not None:
        _write_warmup(extra / WARMUP, named, str(about.get("study", "model")))
    manifest = {
        **about,
        "inputs": _describe(signature, sources or signature.sources),
        "outputs": {name: {"dtype": t.dtype.name, "shape": [None, *t.shape[1:]]} for name, t in outputs.items()},
        "random": drawn,
        "labels": labels,
        "versions": _versions(),
        "files": _sums(folder),
    }
    _dump(extra / MANIFEST, manifest)
    _sync(folder)
    return manifest


def _save(model: keras.Model, signature: Signature, folder: Path) -> None:
    """What `model.export` does, with names for inputs and outputs that a person can read."""
    archive = keras.export.ExportArchive()
    archive.track(model)

    def serve(named: dict[str, Any]) -> dict[str, Any]:
        return _answer(model, signature, named)

    archive.add_endpoint("serve", serve, input_signature=[signature.specs])
    archive.write_out(str(folder), verbose=False)


def _answer(model: keras.Model, signature: Signature, named: Mapping[str, Any]) -> dict[str, Any]:
    """Predictions by name. Layers such as RandomFlip train unless they are told otherwise."""
    return name_outputs(model, model(signature.arrange(named), training=False))


def _tolerance(model: keras.Model) -> float:
    """How far predictions of another process may be off, relative and absolute: some roundings of the coarsest layer.

    What is computed in float16 or bfloat16 is rounded otherwise in a graph than step by step.
    """
    used = {str(layer.compute_dtype) for layer in model._flatten_layers()}
    return max([COARSE[name] for name in used if name in COARSE], default=0.0)


def _limited(sample: Any) -> Any:
    """As many rows of the sample as a probe may hold, one at least."""
    leaves = tf.nest.flatten(sample)
    per_row = sum(int(np.prod(leaf.shape[1:])) for leaf in leaves)
    rows = max(1, min(len(leaves[0]), PROBE_NUMBERS // max(1, per_row)))
    return tf.nest.map_structure(lambda leaf: leaf[:rows], sample)


def _require_finite(outputs: Mapping[str, Any]) -> None:
    for name, tensor in outputs.items():
        if tensor.dtype.is_floating and not np.isfinite(tensor.numpy()).all():
            raise ExportRefused(
                f"The model predicts NaN or infinity ({name}) for validation rows: it cannot be served."
            )


def _differing(once: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Outputs that are drawn at random, as those of a variational autoencoder: their values cannot be verified."""
    return [
        name
        for name, tensor in once.items()
        if tensor.dtype.is_floating and not np.allclose(tensor.numpy(), again[name].numpy(), rtol=1e-2, atol=1e-3)
    ]


def _json(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"dtype": t.dtype.name, "values": _plain(t.numpy().tolist())} for name, t in named.items()}


def _plain(value: Any) -> Any:
    """JSON without NaN (null, a missing number) and without bytes."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _describe(signature: Signature, sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"source": sources[name], "dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in signature.specs.items()
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__}


def _write_warmup(path: Path, named: Mapping[str, Any], model_name: str) -> None:
    """The probe as a request that TensorFlow Serving replays before it answers the first client."""
    predict = import_module("tensorflow_serving.apis.predict_pb2")
    log = import_module("tensorflow_serving.apis.prediction_log_pb2")
    request = predict.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = "serving_default"
    for name, tensor in named.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
    with tf.io.TFRecordWriter(str(path)) as writer:
        record = log.PredictionLog(predict_log=log.PredictLog(request=request))
        writer.write(record.SerializeToString())


def _dump(path: Path, value: Any, indent: int | None = 1) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False), encoding="utf-8")


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
