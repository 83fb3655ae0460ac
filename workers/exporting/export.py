"""`python -m workers.exporting.export`: from a trial's artifact to a SavedModel in a staging folder, or to its scores.

Reads one JSON object on stdin and prints one JSON line on stdout; all else, user code's prints too, goes to stderr.

    {"training": Training as JSON, "params": {...}, "seed": 7, "artifact_root": DIR, "trial": 17, "token": 1,
     "epoch": 9, "key": KEY | null, "sha256": SUM | null, "staging": DIR | null, "probe_rows": 16,
     "evaluate_test": true, "refit": null | EPOCHS}                        a null key needs epochs to train it again
    {"ok": true, "path": DIR, "inputs": {...}, "outputs": {...}, "labels": [...] | null,
     "scores": {"validation": {metric: value} | null, "test": {metric: value} | null,
                "standard_errors": {part: {metric: value}}, "rows": {part: number},
                "notes": [sentence, ...],                                           only where there is something
                "refit": {"epochs": number, "rows": number | null}}}                only after a refit
    {"ok": true, "scores": {...}}                                                where "staging" is null
    {"ok": false, "error": "One sentence."}                                       and exit code 1
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.artifacts import ArtifactStore
from workers.contract import Training
from workers.data import Part, Parts, load
from workers.entry_points import resolve
from workers.exporting.answering import answer
from workers.exporting.finished import described, rebuilt, same_preprocessing

MODEL = "model.keras"
PROBE_ROWS = 16  # whose predictions are recorded, unless the request says otherwise


def export(request: Mapping[str, Any]) -> dict[str, Any]:
    """Score the model and write the SavedModel that `request` asks for; returns the answer without "ok".

    Raises what is in the way.
    """
    training = Training.from_json(request["training"])
    store, key = ArtifactStore(request["artifact_root"]), request["key"]
    folder = None if key is None else store.verify(key, request["sha256"])
    made = request if key is None else described(store, key, request["trial"])
    about = {
        "study": training.study,
        **{key: made[key] for key in ("trial", "token", "epoch")},
        "params": dict(request["params"]),
        "seed": request["seed"],
        "model": training.model,
        "objective": training.objective,
        "direction": training.direction,
        "artifact": None if key is None else {"key": key, "sha256": request["sha256"]},
    }
    if training.loop and folder is not None:  # without what it saved nobody can make its model
        return _export_loop(training, folder, about, request)
    return _export_trial(training, folder, about, request)


def _export_trial(
    training: Training, folder: Path | None, about: dict[str, Any], request: Mapping[str, Any]
) -> dict[str, Any]:
    from workers.exporting.saved_model import ExportRefused, write_saved_model
    from workers.exporting.scoring import evaluate

    if training.data is None:
        raise ExportRefused(f"Study {training.study!r} names no data, which its model is built for: add data to it.")
    parts = load(training.data, training.import_paths, request["trial"])
    state = parts.preprocessing if folder is None else same_preprocessing(parts, folder)
    model, refit = _model(training, folder, request, parts)
    test = parts.test if request.get("evaluate_test") else None
    scored = {"validation": None if refit else parts.validation, "test": test}
    scores = evaluate(model, scored)
    scores["rows"] = {name: part.rows for name, part in scored.items() if part is not None}
    scores.update(refit)
    if request["staging"] is None:
        return {"scores": scores}
    served, sources = model, None
    if state is not None:
        from workers.data.preprocessing import servable

        served, sources = servable(model, state), {entry["input"]: entry["name"] for entry in state["columns"]}
    manifest = write_saved_model(
        served,
        probe(parts.validation, state, request.get("probe_rows", PROBE_ROWS)),
        Path(request["staging"]),
        about={**about, "data": parts.fingerprint, "scores": scores},
        labels=parts.labels,
        sources=sources,
    )
    return {**_answer(manifest, request), "scores": _noted(scores, manifest)}


def _model(
    training: Training, folder: Path | None, request: Mapping[str, Any], parts: Parts
) -> tuple[Any, dict[str, Any]]:
    """The trial's model as it was trained, or trained again; then also what scores say of that."""
    if folder is not None and request.get("refit") is None:
        return rebuilt(training, folder, request, parts), {}
    from workers.exporting.refit import refitted, together

    epochs = int(request["refit"])
    rows = together(parts.train, parts.validation)
    return refitted(training, request, parts, rows, epochs), {"refit": {"epochs": epochs, "rows": rows.rows}}


def _export_loop(training: Training, folder: Path, about: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """A model that a loop gave to `run.report(..., model=...)`; its probe is drawn, as nobody knows its data."""
    import keras

    from workers.exporting.saved_model import ExportRefused, write_saved_model

    if not (folder / MODEL).exists():
        raise ExportRefused(
            f"Trial {about['trial']} of study {training.study!r} saved no model: call run.report(..., model=model) "
            "with a Keras model in its loop, and run the study again."
        )
    resolve(training.model, training.import_paths)  # registers the user's own layers, if there are any
    try:
        model = keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True)
    except (ValueError, TypeError) as error:
        raise ExportRefused(f"The model of {request['key']} cannot be loaded safely: {error}"[:1000]) from error
    sample = _drawn(model, request.get("probe_rows", PROBE_ROWS))
    manifest = write_saved_model(model, sample, Path(request["staging"]), about={**about, "scores": {}})
    return {**_answer(manifest, request), "scores": _noted({}, manifest)}


def _noted(scores: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The scores, with a note where some of what the model predicts could not be compared."""
    if not manifest["random"]:
        return scores
    names = ", ".join(manifest["random"])
    note = (
        f"The model predicts something else each time it is asked about the same rows ({names}). "
        "Of these predictions shapes were verified, not values."
    )
    return {**scores, "notes": [*scores.get("notes", []), note]}


def probe(part: Part, state: Mapping[str, Any] | None, rows: int) -> Any:
    """Raw validation rows: columns by input name for a table, else inputs as the model takes them."""
    import numpy as np
    import tensorflow as tf

    if state is not None and part.columns is not None:
        named = {entry["input"]: part.columns[entry["name"]] for entry in state["columns"]}
        floats = [column for column in named.values() if column.dtype.kind == "f"]
        gaps = sum((np.isnan(column) for column in floats), np.zeros(part.rows or 0, int))
        chosen = np.argsort(gaps, kind="stable")[:rows]  # complete rows first: JSON has no number for a missing one
        return {name: column[chosen] for name, column in named.items()}
    x = next(iter(part.dataset))[0] if part.dataset is not None else part.x
    return tf.nest.map_structure(lambda array: array[:rows], x)


def _drawn(model: Any, rows: int) -> Any:
    """Random inputs for a model of unknown data, in the structure that it takes."""
    import keras
    import numpy as np
    import tensorflow as tf

    from workers.exporting.saved_model import ExportRefused

    random = np.random.default_rng(0)

    def draw(tensor: Any) -> Any:
        shape = (rows, *(axis or 8 for axis in tensor.shape[1:]))
        if tensor.dtype == "string":
            return np.full(shape, "a")
        if "int" in tensor.dtype or tensor.dtype == "bool":
            return random.integers(0, 2, shape).astype(tensor.dtype)
        return random.normal(size=shape).astype(tensor.dtype)

    try:
        # A Sequential model that was loaded has no `input` until it is called.
        return (
            draw(model.inputs[0]) if isinstance(model, keras.Sequential) else tf.nest.map_structure(draw, model.input)
        )
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ExportRefused(
            "The loop's model does not say what it takes: give run.report a Functional or Sequential model."
        ) from error


def _answer(manifest: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    return {"path": request["staging"], **{key: manifest[key] for key in ("inputs", "outputs", "labels")}}


if __name__ == "__main__":
    raise SystemExit(answer(export))
