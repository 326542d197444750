"""Pictures in, a classifier you can trust, see and ship out.

import iconoclass as ic
ic.check("photos/").save()  # what is wrong with them: check/check.html
data = ic.load_dataset("fashion_mnist")  # or "photos/", "photos.zip", "labels.csv"
run = ic.train(data, model="resnet")
ic.resume(run)  # killed on the way? It goes on, to the same model
report = ic.evaluate(run)  # report.show() in a notebook
ic.Predictor.load(run.path).predict(["a.jpg", "b.jpg"])
ic.export(run, "onnx")  # and every other format: asked about the test pictures before it is there
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iconoclass.bulk.prediction import Written, predict_all
    from iconoclass.config import Config
    from iconoclass.curve import Curve, learning_curve
    from iconoclass.data.dataset import Dataset, Split, load_dataset
    from iconoclass.data.inspection import Inspection, check
    from iconoclass.errors import IconoclassError
    from iconoclass.evaluation.compare import Comparison, compare
    from iconoclass.evaluation.evaluator import evaluate
    from iconoclass.evaluation.explain import explain
    from iconoclass.evaluation.files import evaluate_file
    from iconoclass.evaluation.labels import suspects
    from iconoclass.evaluation.report import Report
    from iconoclass.exports.delivery import Export, Verified, export, verify
    from iconoclass.exports.foreign import import_model
    from iconoclass.folds import Folds, cross_validate
    from iconoclass.notebooks.writer import write_notebook
    from iconoclass.pipeline import preview, train
    from iconoclass.prediction.predictor import Prediction, Predictor
    from iconoclass.resuming import resume
    from iconoclass.run import Run
    from iconoclass.tuning.outcome import Outcome
    from iconoclass.tuning.study import tune

__version__ = "0.1.0"

# Name -> module. Imported on first use: `import iconoclass` must cost milliseconds, TensorFlow costs seconds.
_PUBLIC = {
    "Comparison": "iconoclass.evaluation.compare",
    "Config": "iconoclass.config",
    "Curve": "iconoclass.curve",
    "Dataset": "iconoclass.data.dataset",
    "Export": "iconoclass.exports.delivery",
    "Folds": "iconoclass.folds",
    "IconoclassError": "iconoclass.errors",
    "Inspection": "iconoclass.data.inspection",
    "Outcome": "iconoclass.tuning.outcome",
    "Prediction": "iconoclass.prediction.predictor",
    "Predictor": "iconoclass.prediction.predictor",
    "Report": "iconoclass.evaluation.report",
    "Run": "iconoclass.run",
    "Split": "iconoclass.data.dataset",
    "Verified": "iconoclass.exports.delivery",
    "Written": "iconoclass.bulk.prediction",
    "check": "iconoclass.data.inspection",
    "compare": "iconoclass.evaluation.compare",
    "cross_validate": "iconoclass.folds",
    "evaluate": "iconoclass.evaluation.evaluator",
    "explain": "iconoclass.evaluation.explain",
    "learning_curve": "iconoclass.curve",
    "evaluate_file": "iconoclass.evaluation.files",
    "export": "iconoclass.exports.delivery",
    "import_model": "iconoclass.exports.foreign",
    "load_dataset": "iconoclass.data.dataset",
    "predict_all": "iconoclass.bulk.prediction",
    "preview": "iconoclass.pipeline",
    "resume": "iconoclass.resuming",
    "suspects": "iconoclass.evaluation.labels",
    "train": "iconoclass.pipeline",
    "tune": "iconoclass.tuning.study",
    "verify": "iconoclass.exports.delivery",
    "write_notebook": "iconoclass.notebooks.writer",
}

__all__ = [
    "Comparison",
    "Config",
    "Curve",
    "Dataset",
    "Export",
    "Folds",
    "IconoclassError",
    "Inspection",
    "Outcome",
    "Prediction",
    "Predictor",
    "Report",
    "Run",
    "Split",
    "Verified",
    "Written",
    "check",
    "compare",
    "cross_validate",
    "evaluate",
    "evaluate_file",
    "explain",
    "export",
    "import_model",
    "learning_curve",
    "load_dataset",
    "predict_all",
    "preview",
    "resume",
    "suspects",
    "train",
    "tune",
    "verify",
    "write_notebook",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'iconoclass' has no attribute '{name}'. Public: {', '.join(__all__)}.")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
