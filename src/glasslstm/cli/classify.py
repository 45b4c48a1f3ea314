"""``train``, ``predict`` and ``evaluate``: a classifier of the series in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from typer import Option

from glasslstm import modelfile
from glasslstm._console import print_table, say
from glasslstm._files import check_writable
from glasslstm.cli.shared import (
    AsJson,
    Channels,
    Data,
    Id,
    Model,
    Quiet,
    Sort,
    Time,
    as_classes,
    print_json,
    read_for,
    split,
)
from glasslstm.data import read_series, write_table
from glasslstm.data.files import check_table_path
from glasslstm.errors import ArgumentError
from glasslstm.estimators.classifier import LSTMClassifier

__all__ = ["evaluate", "predict", "train"]

DEFAULTS = LSTMClassifier()


def train(
    data: Data,
    target: Annotated[str, Option(help="The column with the class, the same in all rows of a series.")],
    id_: Annotated[str, Option("--id", help="The column that says which series a row belongs to.")],
    time: Annotated[str, Option(help="The column that says when: numbers, dates or times.")],
    out: Annotated[Path, Option(help="The folder for the model.")],
    channels: Annotated[
        str | None, Option(help="The columns with the values, as a,b,c; default: all others.")
    ] = None,
    sort: Sort = False,
    hidden_size: Annotated[int, Option(help="Units of each layer and direction.")] = DEFAULTS.hidden_size,
    num_layers: Annotated[int, Option(help="Layers, each reading the one below.")] = DEFAULTS.num_layers,
    bidirectional: Annotated[bool, Option(help="Read each series backward too.")] = DEFAULTS.bidirectional,
    dropout: Annotated[float, Option(help="Share zeroed in training.")] = DEFAULTS.dropout,
    learning_rate: Annotated[float, Option(help="Step size of AdamW.")] = DEFAULTS.learning_rate,
    weight_decay: Annotated[float, Option(help="Weight decay of AdamW.")] = DEFAULTS.weight_decay,
    batch_size: Annotated[int, Option(help="Series in a batch.")] = DEFAULTS.batch_size,
    max_epochs: Annotated[int, Option(help="Epochs of the search, at most.")] = DEFAULTS.max_epochs,
    patience: Annotated[int, Option(help="Epochs without progress until it stops.")] = DEFAULTS.patience,
    validation_fraction: Annotated[
        float, Option(help="Share of the series that says when to stop.")
    ] = DEFAULTS.validation_fraction,
    refit: Annotated[bool, Option(help="Train again on all series at the end.")] = DEFAULTS.refit,
    input_noise: Annotated[float, Option(help="Noise added in training.")] = DEFAULTS.input_noise,
    channel_shift: Annotated[float, Option(help="Shifts added in training.")] = DEFAULTS.channel_shift,
    weight_averaging: Annotated[
        float, Option(help="Decay of the average of the weights; 0: no average.")
    ] = DEFAULTS.weight_averaging,
    gradient_clip: Annotated[
        float, Option(help="The largest norm of the gradient; 0: no limit.")
    ] = DEFAULTS.gradient_clip or 0.0,
    precision: Annotated[str, Option(help="32-true, bf16-mixed, 16-mixed.")] = DEFAULTS.precision,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, ...")] = DEFAULTS.device,
    checkpoint: Annotated[
        Path | None, Option(help="A folder to leave the state in, and to go on from.")
    ] = None,
    seed: Annotated[int | None, Option(help="For the same model again.", show_default="random")] = None,
    record: Annotated[
        bool, Option("--record", help="Keep how gates, memory and gradients do, epoch by epoch.")
    ] = False,
    force: Annotated[bool, Option("--force", help="Replace the model that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on a table, and save it as a folder."""
    # What has the name of a parameter of the classifier is one.
    known = DEFAULTS.get_params()
    parameters = {name: value for name, value in locals().items() if name in known}
    parameters["gradient_clip"] = gradient_clip or None
    _check_model_folder(out, force=force)
    if checkpoint:
        check_writable(checkpoint / "search.ckpt")
    series = read_series(data, id=id_, time=time, target=target, channels=split(channels), sort=sort)
    clf = LSTMClassifier(**parameters, random_state=seed, verbose=not quiet)
    clf.fit(series.X, series.labels, channel_names=series.channels, record=record)
    clf.table_ = {"id": id_, "time": time, "target": target}
    clf.save(out)
    best = clf.history_[clf.best_epoch_ - 1]
    say(f"{len(series)} series, {len(clf.classes_)} classes, channels {', '.join(series.channels)}")
    say(f"best epoch {clf.best_epoch_} of {clf.n_iter_}: {_in_words(best)}")
    say(f"the model is in {out}: glasslstm predict {out} DATA --out predictions.csv")
    if clf.interrupted_:  # the model is the best one until then
        raise KeyboardInterrupt


def predict(
    model: Model,
    data: Data,
    out: Annotated[Path, Option(help="The table to write (.csv, .parquet): a row is a series.")],
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
) -> None:
    """Write the class and the probabilities of each series.

    The columns are id, class, and probability_ followed by its name for each class.
    """
    check_table_path(out)
    if out.exists() and data.exists() and out.samefile(data):
        raise ArgumentError(f"--out {out} is the table to read; choose another name")
    clf = modelfile.load(model)
    series = read_for(clf, data, {"id": id_, "time": time}, channels, sort=sort)
    probability = clf.predict_proba(series.X)
    columns = {"id": series.ids, "class": clf.classes_[probability.argmax(axis=1)]}
    columns |= {f"probability_{name}": probability[:, k] for k, name in enumerate(clf.classes_)}
    write_table(out, columns)
    say(f"{len(series)} series: {out}")


def evaluate(
    model: Model,
    data: Data,
    target: Annotated[str | None, Option(help="The column with the class; default: the model's.")] = None,
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
    as_json: AsJson = False,
) -> None:
    """Compare a model's classes with those of a table.

    It prints the accuracy, each class's precision, recall, F1 and support, and the confusion matrix.
    """
    clf = modelfile.load(model)
    series = read_for(clf, data, {"id": id_, "time": time, "target": target}, channels, sort=sort)
    scores = _scores(as_classes(series, clf.classes_), clf.predict(series.X), clf.classes_)
    if as_json:
        print_json(scores)
        return
    say(f"accuracy {scores['accuracy']:.4f} on {scores['n_series']} series")
    rows = [[f"{v:.3f}" if isinstance(v, float) else v for v in row.values()] for row in scores["classes"]]
    print_table("each class", rows, header=list(scores["classes"][0]))
    names = [str(row["class"]) for row in scores["classes"]]
    rows = [[name, *row] for name, row in zip(names, scores["confusion_matrix"], strict=True)]
    print_table("how many series of the class on the left were taken for", rows, header=["", *names])


def _check_model_folder(out: Path, *, force: bool) -> None:
    modelfile.check_target(out)
    if not force and out.exists() and any(out.iterdir()):
        raise ArgumentError(
            f"--out {out} has a model already; choose another folder, or replace it with --force"
        )
    check_writable(out / "model.json")


def _scores(y: NDArray[Any], predicted: NDArray[Any], classes: NDArray[Any]) -> dict[str, Any]:
    figures = precision_recall_fscore_support(y, predicted, labels=classes, zero_division=0.0)
    return {
        "n_series": len(y),
        "accuracy": float(accuracy_score(y, predicted)),
        "classes": [
            {
                "class": name,
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(classes.tolist(), *figures, strict=True)
        ],
        "confusion_matrix": confusion_matrix(y, predicted, labels=classes).tolist(),
    }


def _in_words(epoch: dict[str, float]) -> str:
    names = {
        "valid_accuracy": "validation accuracy",
        "valid_loss": "validation loss",
        "train_loss": "training loss",
    }
    return ", ".join(f"{words} {epoch[name]:.4f}" for name, words in names.items() if name in epoch)
