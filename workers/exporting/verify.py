"""`python -m workers.exporting.verify PATH`: does an exported model hold what it promises, for TensorFlow alone?

A throw-away process, run before a version is renamed to its final name. It knows neither Keras models nor user code:
it compares every file with its SHA-256, loads the SavedModel as a server does, and asks `serving_default` by name for
the predictions that the export recorded. Prints one JSON line, {"ok": true, "problems": []}; exit code 1 if not ok.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

EXTRA = "assets.extra"
MANIFEST, PROBE = f"{EXTRA}/ockham.json", f"{EXTRA}/probe.json"
RTOL, ATOL = 1e-5, 1e-6  # for predictions; both processes use the CPU


def verify(folder: Path) -> list[str]:
    """Everything that is wrong with the exported model in `folder`, one sentence each."""
    problems = list(_file_problems(folder))
    return problems or list(_model_problems(folder))


def main() -> int:
    """Verify the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("Usage: python -m workers.exporting.verify PATH\n")
        return 2
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    problems = verify(Path(sys.argv[1]))
    sys.stdout.write(json.dumps({"ok": not problems, "problems": problems}) + "\n")
    return 1 if problems else 0


def _file_problems(folder: Path) -> Iterator[str]:
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = dict(files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{folder / MANIFEST} cannot be read as a manifest: {error}"
        return
    for required in ("saved_model.pb", PROBE):
        if required not in expected:
            yield f"The manifest does not list {required}."
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(present - {*expected, MANIFEST}):
        yield f"{name} is not in the manifest."
    for name, sha256 in sorted(expected.items()):
        if name not in present:
            yield f"{name} is missing."
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
            yield f"{name} does not match its SHA-256."


def _model_problems(folder: Path) -> Iterator[str]:
    gc.disable()  # this process ends soon, and the import is a quarter faster
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(folder), tags=["serve"])
    except Exception as error:  # TensorFlow raises many kinds for a file it cannot read
        yield f"TensorFlow cannot load the SavedModel: {error}"
        return
    if "serving_default" not in model.signatures:
        yield f"There is no signature serving_default, only {sorted(model.signatures)}."
        return
    signature = model.signatures["serving_default"]
    probe = json.loads((folder / PROBE).read_text(encoding="utf-8"))
    specs = signature.structured_input_signature[1]
    problems = list(_input_problems(specs, probe["inputs"]))
    if problems:
        yield from problems
        return
    inputs = {name: tf.constant(_numbers(form["values"]), specs[name].dtype) for name, form in probe["inputs"].items()}
    try:
        answers = signature(**inputs)
    except Exception as error:  # as above
        yield f"serving_default does not answer the probe: {error}"
        return
    found = {name: tensor.numpy() for name, tensor in answers.items()}
    yield from _output_problems(found, probe["outputs"], probe.get("tolerance", 0.0), probe.get("random", ()))


def _input_problems(specs: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    if set(specs) != set(inputs):
        yield f"serving_default takes {sorted(specs)}, the probe has {sorted(inputs)}."
        return
    for name, form in inputs.items():
        if specs[name].dtype.name != form["dtype"]:
            yield f"Input {name} has type {specs[name].dtype.name}, the probe has {form['dtype']}."


def _output_problems(
    answers: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float, drawn: Collection[str]
) -> Iterator[str]:
    import numpy as np

    if set(answers) != set(expected):
        yield f"serving_default answers {sorted(answers)}, the probe has {sorted(expected)}."
        return
    for name, form in expected.items():
        found, wanted = answers[name], np.asarray(form["values"])
        if form["dtype"] == "bfloat16":  # NumPy knows no kind for it
            found = found.astype("float32")
        if found.shape != wanted.shape:
            yield f"Output {name} has shape {found.shape}, the Keras model gave {wanted.shape}."
        elif name in drawn:  # another one each time
            continue
        elif found.dtype.kind not in "fiub":
            if [_text(item) for item in found.flat] != [str(item) for item in wanted.flat]:
                yield f"Output {name} differs from what the Keras model gave."
        elif not np.allclose(found, wanted, rtol=max(RTOL, tolerance), atol=max(ATOL, tolerance)):
            gap = np.abs(found.astype(float) - wanted.astype(float)).max()
            yield f"Output {name} differs by up to {gap:.3g} from what the Keras model predicted."


def _numbers(values: Any) -> Any:
    """null is a missing number."""
    if isinstance(values, list):
        return [_numbers(value) for value in values]
    return float("nan") if values is None else values


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
