"""The command line, thin: arguments in, calls of the library, results out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from torch.nn import Module
from typer import Argument, Option

from glasslstm import modelfile
from glasslstm._console import Commands, print_table, say
from glasslstm._files import check_writable
from glasslstm._objects import find_object
from glasslstm._version import __version__
from glasslstm.bench import parse_shapes, parse_threads, parse_works
from glasslstm.bench import run as run_bench
from glasslstm.bench.measure import Box
from glasslstm.bench.show import show
from glasslstm.bench.works import WORKS
from glasslstm.data import SeriesTable, read_series, write_table
from glasslstm.data.files import check_table_path, open_table
from glasslstm.doctor import facts
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.insight.diagnose import diagnose as diagnose_model
from glasslstm.insight.findings import SEVERITIES, Diagnosis

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULTS = LSTMClassifier()

Data = Annotated[Path, Argument(help="A long table (.csv, .parquet): a row is one step of one series.")]
Model = Annotated[Path, Argument(help="The folder of a trained model.")]
Id = Annotated[str | None, Option("--id", help="The column that names the series; default: the model's.")]
Time = Annotated[str | None, Option(help="The column that says when; default: the model's.")]
Channels = Annotated[str | None, Option(help="The columns with the values, as a,b,c; default: the model's.")]
Sort = Annotated[bool, Option("--sort", help="Sort each series by time; without it, it must be sorted.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]


def _example(line: str) -> str:
    return f"\b\nExample:\n  {line}"


def _parser(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a wrong word on the command line a wrong use of it."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ArgumentError as error:
            raise typer.BadParameter(str(error)) from None

    return parsed


def _print_version(asked: bool) -> None:
    if asked:
        say(f"glasslstm {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Classify series with an LSTM in glass: train, predict, and see every gate."""


@app.command(epilog=_example("glasslstm demo"))
def demo(
    out: Annotated[Path, Option(help="The folder to write into.")] = Path("runs/demo"),
    seed: Annotated[int, Option(help="The random state of the training.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train on a shipped data set, and leave a model and a report.

    The data are the Japanese Vowels: who of nine speakers said it? There are 270 utterances to train on and
    370 to test on, each a series of 7 to 29 steps with 12 channels.
    """
    from glasslstm.demo import run_demo  # noqa: PLC0415 - it alone needs the extra "report"

    metrics = run_demo(out, seed=seed, verbose=not quiet)
    say(
        f"test accuracy {metrics['test_accuracy']:.4f} on {metrics['n_test']} utterances, after training on "
        f"{metrics['n_train']} for {metrics['fit_seconds']:.0f} s"
    )
    say("Where to look:")
    say(f"  {out / 'report.html'}   learning curves, confusion matrix, every gate of one utterance")
    say(f"  {out / 'metrics.json'}  these figures, with seed and versions")
    say(f"  {out / 'model'}         the model: glasslstm info {out / 'model'}")


@app.command(epilog=_example("glasslstm train data.csv --target label --id series --time t --out model/"))
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
    series = read_series(data, id=id_, time=time, target=target, channels=_split(channels), sort=sort)
    clf = LSTMClassifier(**parameters, random_state=seed, verbose=not quiet)
    clf.fit(series.X, series.labels, channel_names=series.channels)
    clf.table_ = {"id": id_, "time": time, "target": target}
    clf.save(out)
    best = clf.history_[clf.best_epoch_ - 1]
    say(f"{len(series)} series, {len(clf.classes_)} classes, channels {', '.join(series.channels)}")
    say(f"best epoch {clf.best_epoch_} of {clf.n_iter_}: {_in_words(best)}")
    say(f"the model is in {out}: glasslstm predict {out} DATA --out predictions.csv")
    if clf.interrupted_:  # the model is the best one until then
        raise KeyboardInterrupt


@app.command(epilog=_example("glasslstm predict model/ new.csv --out predictions.csv"))
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
    series = _read_for(clf, data, {"id": id_, "time": time}, channels, sort=sort)
    probability = clf.predict_proba(series.X)
    columns = {"id": series.ids, "class": clf.classes_[probability.argmax(axis=1)]}
    columns |= {f"probability_{name}": probability[:, k] for k, name in enumerate(clf.classes_)}
    write_table(out, columns)
    say(f"{len(series)} series: {out}")


@app.command(epilog=_example("glasslstm evaluate model/ test.csv"))
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
    series = _read_for(clf, data, {"id": id_, "time": time, "target": target}, channels, sort=sort)
    scores = _scores(_as_classes(series, clf.classes_), clf.predict(series.X), clf.classes_)
    if as_json:
        _print_json(scores)
        return
    say(f"accuracy {scores['accuracy']:.4f} on {scores['n_series']} series")
    rows = [[f"{v:.3f}" if isinstance(v, float) else v for v in row.values()] for row in scores["classes"]]
    print_table("each class", rows, header=list(scores["classes"][0]))
    names = [str(row["class"]) for row in scores["classes"]]
    rows = [[name, *row] for name, row in zip(names, scores["confusion_matrix"], strict=True)]
    print_table("how many series of the class on the left were taken for", rows, header=["", *names])


@app.command(epilog=_example("glasslstm diagnose train.py:example --json"))
def diagnose(
    model: Annotated[
        str,
        Argument(
            help="The folder of a trained model; or module:name or file.py:name of (model, inputs), of (model, "
            "inputs, targets, loss), of a dict of these, or of a function that returns one."
        ),
    ],
    data: Annotated[
        Path | None, Argument(help="With a folder: a long table (.csv, .parquet), as for evaluate.")
    ] = None,
    codes: Annotated[str | None, Option(help="What to look for, as a,b; default: everything.")] = None,
    fail_on: Annotated[
        Literal["note", "warning", "error", "never"], Option(help="The mildest finding that is a failure.")
    ] = "warning",
    target: Annotated[
        str | None, Option(help="The column with the class; default: the model's, if it is there.")
    ] = None,
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with the LSTMs in a model, and say what to change.

    The exit status is 3 if a note or a warning fails, by --fail-on, and 4 if an error does; 0 if nothing does. As ever,
    1 says that the command went wrong and 2 that it was called wrongly.
    """
    chosen = _split(codes)
    if ":" not in model or Path(model).is_dir():
        clf = modelfile.load(model)
        if data is None:
            raise typer.BadParameter("needed, because MODEL is a folder", param_hint="DATA")
        given = {"id": id_, "time": time} | _target_there(clf, data, target)
        series = _read_for(clf, data, given, channels, sort=sort)
        y = None if series.y is None else _as_classes(series, clf.classes_)
        found = clf.diagnose(series.X, y, codes=chosen)
    else:
        if data is not None:
            raise typer.BadParameter(
                "goes with the folder of a model; the code brings its own", param_hint="DATA"
            )
        found = diagnose_model(*_example_of(model), codes=chosen)
    if as_json:
        _print_json(found.to_dict())
    else:
        _show(found)
    if found.worst and fail_on != "never" and SEVERITIES.index(found.worst) >= SEVERITIES.index(fail_on):
        raise typer.Exit(4 if found.worst == "error" else 3)


@app.command(epilog=_example("glasslstm info model/"))
def info(model: Model, as_json: AsJson = False) -> None:
    """Say what a model is: parameters, classes, channels, columns."""
    about = modelfile.inspect(model).model_dump(mode="json")
    if as_json:
        _print_json(about)
        return
    about["best epoch"] = about.pop("history")[about["best_epoch"] - 1]
    groups = {name: fact for name, fact in about.items() if isinstance(fact, dict)}
    print_table("model", [(name, _joined(fact)) for name, fact in about.items() if name not in groups])
    for name, facts_of_it in groups.items():
        print_table(name, facts_of_it.items())


@app.command(epilog=_example("glasslstm doctor"))
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, and which kernel runs here and why."""
    found = facts()
    if as_json:
        _print_json(found)
        return
    for title in ("versions", "machine"):
        print_table(title, found[title].items())
    kernels = found["kernels"]
    print_table("kernels", [row.values() for row in kernels], header=list(kernels[0]))
    extras = [
        (extra, package, version or f"missing: pip install 'glasslstm[{extra}]'")
        for extra, packages in found["extras"].items()
        for package, version in packages.items()
    ]
    print_table("extras", extras, header=["extra", "package", "version"])


@app.command(epilog=_example("glasslstm bench --work training --shapes small,100x4x16x32 --threads 1,2"))
def bench(
    work: Annotated[
        Any, Option(parser=_parser(parse_works), metavar="A,B", help=f"all, or some of {', '.join(WORKS)}.")
    ] = "inference,training,ragged-training,step",
    shapes: Annotated[
        Any,
        Option(
            parser=_parser(parse_shapes),
            metavar="A,B",
            help="all, single, small, large, or TxBxIxH, TxBxIxHxL, TxBxIxHxLxD.",
            show_default="those of each work",
        ),
    ] = None,
    threads: Annotated[
        Any,
        Option(
            parser=_parser(parse_threads),
            metavar="N,M",
            help="Numbers of threads, one after the other.",
            show_default="torch's",
        ),
    ] = None,
    seconds: Annotated[float, Option(min=0, help="How long to time each side, at least.")] = Box().seconds,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the layer against torch.nn.LSTM and others here.

    Sides run in turn in one process, and a side with wrong numbers is refused: then the status is 1.
    """
    progress = (lambda _: None) if quiet else partial(typer.echo, err=True)
    document = run_bench(work, shapes or (), threads or (), Box(seconds=seconds), progress)
    if as_json:
        _print_json(document)
    else:
        show(document)
    if document["refused"]:
        raise typer.Exit(1)


def _split(channels: str | None) -> list[str] | None:
    return None if channels is None else [name.strip() for name in channels.split(",")]


def _check_model_folder(out: Path, *, force: bool) -> None:
    modelfile.check_target(out)
    if not force and out.exists() and any(out.iterdir()):
        raise ArgumentError(
            f"--out {out} has a model already; choose another folder, or replace it with --force"
        )
    check_writable(out / "model.json")


def _read_for(
    clf: LSTMClassifier, data: Path, given: dict[str, str | None], channels: str | None, *, sort: bool
) -> SeriesTable:
    """Read a table for a model: what is not given, the model knows."""
    columns: dict[str, Any] = (clf.table_ or {}) | {role: name for role, name in given.items() if name}
    for role in given:
        if role not in columns:
            raise ArgumentError(f"the model does not know the {role} column; name it with --{role}")
    names = _split(channels) or getattr(clf, "feature_names_in_", None)
    if names is None:
        raise ArgumentError(
            f"the model does not know the names of its {clf.n_features_in_} channels; name their columns, "
            "in the order of the training, with --channels a,b,c"
        )
    if len(names) != clf.n_features_in_:
        known = ", ".join(getattr(clf, "feature_names_in_", []))
        raise ArgumentError(
            f"--channels: expected the {clf.n_features_in_} channels of the model{known and f' ({known})'}, "
            f"in the order of the training; got {len(names)}: {', '.join(names)}"
        )
    return read_series(
        data, **{role: columns[role] for role in given}, channels=[str(name) for name in names], sort=sort
    )


def _target_there(clf: LSTMClassifier, data: Path, given: str | None) -> dict[str, str | None]:
    """Return the target as a role: the given one, or the model's where the table has it, or none."""
    target = given or (clf.table_ or {}).get("target")
    there = given or target in open_table(data, keys=())[0].columns
    return {"target": target} if there else {}


def _example_of(name: str) -> tuple[Any, ...]:
    """Return the model, the inputs and, where there are any, targets and loss that a piece of code gives."""
    found = find_object(name)
    if callable(found) and not isinstance(found, Module):
        found = found()
    words = ("model", "inputs", "targets", "loss")
    if isinstance(found, Mapping) and {"model", "inputs"} <= found.keys() <= set(words):
        return tuple(found.get(word) for word in words)
    if isinstance(found, tuple) and len(found) in (2, 4):
        return found
    got = f"a dict of {', '.join(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
    raise ArgumentError(
        f"{name}: expected (model, inputs) or (model, inputs, targets, loss), or a dict of these; got {got}"
    )


def _show(found: Diagnosis) -> None:
    """Print a diagnosis as a table and in words."""
    summary, *words = str(found).splitlines()
    say(summary)
    if found:
        rows = [
            (one.severity, one.code, str(one.place), f"{one.value:.3g}", f"{one.threshold:.3g}")
            for one in found
        ]
        print_table("findings", rows, header=("severity", "code", "where", "value", "threshold"))
    for line in words:
        say(line)


def _as_classes(series: SeriesTable, classes: NDArray[Any]) -> NDArray[Any]:
    """Return the labels as classes of the model: 1, 1.0 and the text "1" are one, as are true and "True"."""
    both_text = series.labels.dtype.kind == classes.dtype.kind == "U"
    value = str if both_text else _value  # between two texts, "1" and "01" differ
    texts = {str(name): k for k, name in enumerate(classes)}
    values = {value(name): k for k, name in enumerate(classes)}
    found = [texts.get(str(label), values.get(value(label), -1)) for label in series.labels]
    if -1 in found:
        first = found.index(-1)
        raise DataError(
            f"series {series.ids[first]}: its label {str(series.labels[first])!r} is no class of the model; "
            f"expected one of {', '.join(map(repr, texts))}"
        )
    return classes[found]


def _value(label: object) -> float | str:
    try:
        return float(str(label))
    except ValueError:
        return str(label).casefold()


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


def _joined(fact: object) -> object:
    return ", ".join(map(str, fact)) if isinstance(fact, list) else fact


def _print_json(result: object) -> None:
    typer.echo(json.dumps(result, indent=2))
