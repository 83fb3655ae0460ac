"""From a trial's artifact to a SavedModel that TensorFlow alone loads and that answers as the Keras model did."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.artifacts import ArtifactDamaged, ArtifactStore
from workers.contract import Training
from workers.data import DataError, load
from workers.exporting.verify import verify

pytestmark = pytest.mark.tensorflow

ROOT = Path(__file__).parents[2]
MODELS = """
import keras, numpy as np, tensorflow as tf

random = np.random.default_rng(0)
x = {"b_wide": random.normal(size=(90, 3)), "a_deep": random.normal(size=(90, 3))}
y = (x["b_wide"][:, :1] * 3 + x["a_deep"][:, 1:2] > 0).astype("int64")

def named():
    return x, y

def unnamed():
    return (x["b_wide"], x["a_deep"]), y

def datasets():
    def part(start, end):
        arrays = ({key: value[start:end].astype("float32") for key, value in x.items()}, y[start:end])
        return tf.data.Dataset.from_tensor_slices(arrays).batch(32)
    return part(0, 60), part(60, 90)

def single():
    return x["b_wide"].astype("float32"), x["b_wide"][:, 0].astype("float32")

def wide_and_deep(hp):
    wide, deep = keras.Input((3,), name="b_wide"), keras.Input((3,), name="a_deep")
    hidden = keras.layers.Dense(hp.Int("units", 4, 8), "relu")(deep)
    output = keras.layers.Dense(1, "sigmoid", name="p")(keras.layers.Concatenate()([wide, hidden]))
    inputs = {"b_wide": wide, "a_deep": deep} if hp.Boolean("by_name", True) else [wide, deep]
    outputs = {"score": output, "half output": output * 0.5} if hp.Boolean("two", False) else output
    model = keras.Model(inputs, outputs)
    model.compile("sgd", None if hp.get("two") else "binary_crossentropy")
    return model

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.answer = keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)
    def call(self, inputs):
        return self.answer(self.hidden(tf.nn.relu(inputs)))
    def train_step(self, data):
        return {"loss": tf.reduce_mean(self(data[0]))}

def subclassed(hp):
    model = Own()
    model.compile("sgd", "mse")
    return model

def coarse(hp):
    dtype = hp.Choice("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
    layers = [keras.layers.Dense(units, activation, dtype=dtype) for units, activation in ((32, "tanh"), (32, "relu"))]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, dtype=dtype)])
    model.compile("sgd", "mse")
    return model

def pictures():
    return random.uniform(size=(90, 8, 8, 1)).astype("float32"), y[:, 0]

AUGMENTATIONS = ["Flip", "Rotation", "Zoom", "Translation", "Contrast", "Brightness"]

class Augmented(keras.Model):
    def __init__(self):
        super().__init__()
        self.flip, self.noise = keras.layers.RandomFlip(), keras.layers.GaussianNoise(1.0)
        self.flat, self.answer = keras.layers.Flatten(), keras.layers.Dense(2, "softmax")
    def call(self, inputs):
        return self.answer(self.flat(self.noise(self.flip(inputs))))

def augmented(hp):
    size = {"Rotation": [0.5], "Zoom": [0.5], "Translation": [0.5, 0.5], "Contrast": [0.5], "Brightness": [0.5]}
    layers = [getattr(keras.layers, f"Random{name}")(*size.get(name, [])) for name in AUGMENTATIONS]
    last = [keras.layers.Dropout(0.5), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    model = Augmented() if hp.Boolean("own", False) else keras.Sequential([keras.Input((8, 8, 1)), *layers, *last])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model

@keras.saving.register_keras_serializable()
class Drawing(keras.layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))

def drawing(hp):
    model = keras.Sequential([keras.Input((3,)), Drawing(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model

def loop(run):
    pass
"""


class Study:
    """Trials that were trained elsewhere: their artifacts, and requests to export them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ArtifactStore(folder / "artifacts")
        (folder / "exported_models.py").write_text(MODELS)

    def training(self, model: str, data: dict[str, Any] | None, loop: bool = False) -> Training:
        return Training(
            study="tests",
            model=model,
            loop=loop,
            space=None,
            data=data,
            objective="val_data_loss",
            direction="minimize",
            epochs=1,
            patience=None,
            checkpoint_seconds=60.0,
            artifacts=str(self.store.root),
            import_paths=(str(self.folder),),
        )

    def save(self, training: Training, params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Build the trial's model with changed weights, keep it as a worker does; returns the request and the model."""
        from workers.trials import keras_files, models

        parts = load(training.data or {}, training.import_paths)
        model = models.build(training, params, parts).model
        keras_files.build_variables(model, parts)
        random = np.random.default_rng(1)
        model.set_weights([random.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
        with keras_files.model(model, parts) as files:
            return self.request(training, params, files), model

    def request(self, training: Training, params: dict[str, Any], files: Any) -> dict[str, Any]:
        key = "tests/trial-000003/attempt-5/epoch-0001-model"
        manifest = {"study": "tests", "members": [{"trial": 3, "token": 5, "epoch": 1, "params": params}]}
        sha256, _ = self.store.write(key, files, manifest)
        return {
            "training": training.to_json(),
            "trial": 3,
            "params": params,
            "seed": 11,
            "artifact_root": str(self.store.root),
            "key": key,
            "sha256": sha256,
            "staging": str(self.folder / "models" / ".staging-1"),
            "probe_rows": 16,
            "evaluate_test": True,
        }


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "exported_models", raising=False)
    return Study(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    import pandas as pd

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"trip-km": random.gamma(2.0, 3.0, 100), "city": random.choice(["Rom", "Köln"], 100)})
    frame["riders"] = random.integers(1, 4, 100)
    frame["kind"] = np.where(frame["trip-km"] > 5, "long", "short")
    frame.loc[::9, "trip-km"] = None
    frame.to_csv(tmp_path / "trips.csv", index=False)
    return {"path": str(tmp_path / "trips.csv"), "target": "kind"}


def run(module: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)


def signature(folder: str) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(folder).signatures["serving_default"]


def test_a_table_from_artifact_to_raw_columns(study: Study, table: dict[str, Any]) -> None:
    """Both processes for real: one JSON line on stdout each, and scores equal to Keras' own."""
    import tensorflow as tf

    params = {"depth": 1, "width": 8, "l2": 0.01}
    request, model = study.save(study.training("mlp", table), params)
    done = run("workers.exporting.export", text=json.dumps(request))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"]
    assert answer["labels"] == ["long", "short"]
    assert answer["inputs"] == {
        "trip_km": {"source": "trip-km", "dtype": "float32", "shape": [None]},
        "city": {"source": "city", "dtype": "string", "shape": [None]},
        "riders": {"source": "riders", "dtype": "float32", "shape": [None]},
    }
    assert answer["outputs"] == {"predictions": {"dtype": "float32", "shape": [None, 2]}}

    parts = load(table)
    assert parts.test is not None
    own, scores = model.evaluate(parts.test.x, parts.test.y, return_dict=True, verbose=0), answer["scores"]
    assert scores["test"]["accuracy"] == pytest.approx(own["accuracy"])
    assert scores["test"]["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert scores["test"]["penalty"] == pytest.approx(float(sum(model.losses)), rel=1e-5)
    assert scores["test"]["data_loss"] == pytest.approx(own["loss"] - float(sum(model.losses)), rel=1e-5)
    own = model.evaluate(parts.validation.x, parts.validation.y, return_dict=True, verbose=0)
    assert scores["validation"]["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert scores["rows"] == {"validation": 20, "test": 20}

    folder = Path(answer["path"])
    manifest = json.loads((folder / "assets.extra/ockham.json").read_text())
    assert (manifest["study"], manifest["trial"], manifest["params"]) == ("tests", 3, params)
    assert manifest["scores"] == scores
    assert manifest["data"] == parts.fingerprint
    assert "saved_model.pb" in manifest["files"]
    assert json.loads((folder / "assets.extra/labels.json").read_text()) == ["long", "short"]

    checked = run("workers.exporting.verify", str(folder))
    assert (json.loads(checked.stdout), checked.returncode) == ({"ok": True, "problems": []}, 0), checked.stderr

    columns = {"trip_km": [3, 9], "city": ["Rom", "Paris"], "riders": [1, 2]}  # whole numbers, an unknown city
    types = {"trip_km": tf.float32, "city": tf.string, "riders": tf.float32}
    found = signature(str(folder))(**{name: tf.constant(column, types[name]) for name, column in columns.items()})
    np.testing.assert_allclose(found["predictions"].numpy().sum(axis=1), [1.0, 1.0], rtol=1e-5)


def test_the_verifying_process_knows_tensorflow_alone() -> None:
    program = (
        "import sys, pathlib, tempfile, workers.exporting.verify as v\n"
        "print(v.verify(pathlib.Path(tempfile.mkdtemp())))\n"
        "ours = [name for name in sys.modules if name.startswith(('workers.', 'tuner', 'db', 'search_spaces'))]\n"
        "assert ours == ['workers.exporting', 'workers.exporting.verify'], ours"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be read as a manifest" in done.stdout


Export = Callable[[str, str, dict[str, Any]], tuple[dict[str, Any], Any, dict[str, Any]]]


@pytest.fixture
def exported(study: Study) -> Export:
    """Exports in this process: model function, data function, params -> answer, Keras model, request."""

    def make(model: str, data: str, params: dict[str, Any]) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        from workers.exporting.export import export

        training = study.training(f"exported_models:{model}", {"function": f"exported_models:{data}"})
        request, built = study.save(training, params)
        return export(request), built, request

    return make


INPUTS = [("named", True), ("unnamed", False), ("datasets", True), ("named", False)]


@pytest.mark.parametrize(("data", "by_name"), INPUTS)
def test_several_inputs_keep_their_names(exported: Export, data: str, by_name: bool) -> None:
    """Inputs of equal shape whose order differs between code, names and call are not mixed up."""
    answer, model, _ = exported("wide_and_deep", data, {"units": 6, "by_name": by_name})
    assert set(answer["inputs"]) == {"b_wide", "a_deep"}
    assert verify(Path(answer["path"])) == []
    random = np.random.default_rng(4)
    raw = {name: random.normal(size=(5, 3)).astype(np.float32) for name in ("a_deep", "b_wide")}
    expected = model(raw if by_name else [raw["b_wide"], raw["a_deep"]])
    import tensorflow as tf

    found = signature(answer["path"])(**{name: tf.constant(array) for name, array in raw.items()})
    np.testing.assert_allclose(found["predictions"], expected, rtol=1e-5)


def test_several_outputs_keep_their_names(exported: Export) -> None:
    answer, _, _ = exported("wide_and_deep", "named", {"units": 4, "two": True})
    assert set(answer["outputs"]) == {"score", "half_output"}
    assert answer["scores"]["validation"] is None
    assert "could not be evaluated" in answer["scores"]["notes"][0]
    assert verify(Path(answer["path"])) == []


def test_a_subclassed_model(exported: Export) -> None:
    answer, _, _ = exported("subclassed", "single", {})
    assert answer["inputs"] == {"inputs": {"source": "inputs", "dtype": "float32", "shape": [None, 3]}}
    assert answer["scores"]["rows"] == {"validation": 18, "test": 18}
    assert answer["scores"]["test"]["data_loss"] > 0
    assert answer["scores"]["standard_errors"]["test"]["data_loss"] > 0
    assert verify(Path(answer["path"])) == []


@pytest.mark.parametrize("own", [False, True])
def test_what_is_random_in_training_is_not_served(exported: Export, own: bool) -> None:
    """Keras' augmentations are random unless they are told that nobody trains."""
    answer, model, _ = exported("augmented", "pictures", {"own": own})
    assert verify(Path(answer["path"])) == []
    rows = np.random.default_rng(4).uniform(size=(5, 8, 8, 1)).astype("float32")
    import tensorflow as tf

    [found] = signature(answer["path"])(**{name: tf.constant(rows) for name in answer["inputs"]}).values()
    np.testing.assert_allclose(found, model(rows, training=False), rtol=1e-4)


def test_predictions_that_are_drawn_are_verified_but_for_their_values(exported: Export) -> None:
    answer, _, _ = exported("drawing", "single", {})
    assert verify(Path(answer["path"])) == []
    assert "each time it is asked about the same rows (predictions)" in answer["scores"]["notes"][0]


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_a_model_that_computes_coarsely_is_verified_as_coarsely(exported: Export, tmp_path: Path, dtype: str) -> None:
    answer, _, _ = exported("coarse", "single", {"dtype": dtype})
    assert verify(Path(answer["path"])) == []
    other, probe = tmp_path / "other", "assets.extra/probe.json"
    shutil.copytree(answer["path"], other)
    form = json.loads((other / probe).read_text())
    values = form["outputs"]["predictions"]["values"]
    form["outputs"]["predictions"]["values"] = [[value + 0.2] for [value] in values]
    _rewrite(other, probe, form)
    assert "Output predictions differs by up to 0.2" in verify(other)[0]


def _rewrite(folder: Path, name: str, form: Any) -> None:
    """Change a file of an exported model, and its sum in the manifest."""
    (folder / name).write_text(json.dumps(form))
    manifest = folder / "assets.extra/ockham.json"
    listed = json.loads(manifest.read_text())
    listed["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(listed))


def damaged(folder: Path, kind: str) -> None:
    """Damage an exported model; with "swap" so that only its predictions show it."""
    probe = folder / "assets.extra/probe.json"
    if kind == "variables":
        file = next((folder / "variables").glob("*.data*"))
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif kind == "missing":
        (folder / "fingerprint.pb").unlink()
    elif kind == "added":
        (folder / "extra.bin").write_bytes(b"1")
    else:
        form = json.loads(probe.read_text())
        inputs = form["inputs"]
        if kind == "swap":
            inputs["a_deep"], inputs["b_wide"] = inputs["b_wide"], inputs["a_deep"]
        else:
            inputs["renamed"] = inputs.pop("a_deep")
        _rewrite(folder, "assets.extra/probe.json", form)


def test_verification_finds_every_damage(exported: Export, tmp_path: Path) -> None:
    answer, _, _ = exported("wide_and_deep", "named", {"units": 6})
    expected = {
        "variables": "does not match its SHA-256",
        "missing": "fingerprint.pb is missing",
        "added": "extra.bin is not in the manifest",
        "swap": "Output predictions differs by up to",
        "rename": "serving_default takes ['a_deep', 'b_wide'], the probe has ['b_wide', 'renamed']",
    }
    for kind, sentence in expected.items():
        copy = tmp_path / kind
        shutil.copytree(answer["path"], copy)
        damaged(copy, kind)
        problems = verify(copy)
        assert len(problems) == 1
        assert sentence in problems[0]


def test_what_cannot_be_exported_is_refused_in_a_sentence(
    exported: Export, study: Study, table: dict[str, Any]
) -> None:
    from workers.exporting.export import export
    from workers.exporting.saved_model import ExportRefused
    from workers.trials.keras_files import NotThisModel

    _, _, request = exported("wide_and_deep", "named", {"units": 6})
    with pytest.raises(ExportRefused, match="holds files"):
        export(request)
    with pytest.raises(NotThisModel):
        export({**request, "params": {"units": 5}, "staging": str(study.folder / "other")})
    with pytest.raises(ArtifactDamaged):
        export({**request, "sha256": "0" * 64})
    request, _ = study.save(study.training("mlp", table), {"depth": 1})
    path = Path(table["path"])
    path.write_text(path.read_text() + "100000.0,Rom,3,long\n" * 20)
    with pytest.raises(DataError, match="data has changed"):
        export({**request, "staging": str(study.folder / "third")})
    assert not (study.folder / "third").exists()


def test_a_model_that_predicts_nan_is_refused(study: Study, table: dict[str, Any]) -> None:
    from workers.exporting.export import export
    from workers.exporting.saved_model import ExportRefused
    from workers.trials import keras_files

    training = study.training("mlp", table)
    _, model = study.save(training, {"depth": 1})
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    with keras_files.model(model, load(table)) as files:
        request = study.request(training, {"depth": 1}, files)
    with pytest.raises(ExportRefused, match="NaN"):
        export(request)


def test_a_loops_model(study: Study) -> None:
    import keras

    from workers.exporting.export import export
    from workers.exporting.saved_model import ExportRefused

    training = study.training("exported_models:loop", None, loop=True)
    request = study.request(training, {}, {"state.json": b"{}"})
    with pytest.raises(
        ExportRefused, match=r"Trial 3 of study 'tests' saved no model.*run\.report\(\.\.\., model=model\)"
    ):
        export(request)
    words = keras.Input((None,), dtype="int32", name="words")
    model = keras.Model(words, keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 3)(words)))
    model.save(study.folder / "model.keras")
    answer = export(study.request(training, {}, {"model.keras": study.folder / "model.keras"}))
    assert answer["inputs"] == {"words": {"source": "words", "dtype": "int32", "shape": [None, None]}}
    assert answer["scores"] == {}
    assert verify(Path(answer["path"])) == []
    unsafe = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    unsafe.save(study.folder / "unsafe.keras")
    request = study.request(training, {}, {"model.keras": study.folder / "unsafe.keras"})
    with pytest.raises(ExportRefused, match="cannot be loaded safely"):
        export({**request, "staging": str(study.folder / "unsafe")})


def test_a_failed_export_answers_with_a_sentence(study: Study, table: dict[str, Any]) -> None:
    request, _ = study.save(study.training("mlp", table), {"depth": 1})
    (study.store.root / request["key"] / "model.keras").write_bytes(b"")
    done = run("workers.exporting.export", text=json.dumps(request))
    answer = json.loads(done.stdout)
    assert (answer["ok"], done.returncode) == (False, 1)
    assert "model.keras" in answer["error"]
