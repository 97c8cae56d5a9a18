"""Predicted against true: in the terminal, or in a file."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .datasets import AVERAGE
from .errors import InvalidInputError
from .filesystem import atomic_write
from .metrics import TARGETS, is_missing, label
from .validation import printable

WIDTH, HEIGHT = 64, 22
PAGE = (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>prediction {title}</title>\n'
    "<body>{picture}</body></html>\n"
)


def draw(prediction: dict[str, Any]) -> str:
    """Return a picture made of characters of a prediction: points of numbers, or how often each class became which."""
    y, y_pred = prediction.get("y_true"), prediction.get("y_pred")
    if y is None or y_pred is None or not len(y):
        return "There is nothing to draw: its true values are not known."
    parts = _of_targets(prediction)
    if len(parts) > 1:
        return "\n".join(f"{printable(name)}\n{draw(part)}" for name, part in parts.items())
    if _is_of_classes(prediction):
        return _confusion(y, y_pred)
    from plotext import figure, uncolorize

    y, y_pred = np.ravel(y), np.ravel(y_pred)
    ends = (float(min(y.min(), y_pred.min())), float(max(y.max(), y_pred.max())))
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(WIDTH, HEIGHT)
    figure.label("true", "x")
    figure.label("predicted", "y")
    figure.draw(figure.segment(ends, ends, marker="."))
    figure.draw(figure.signal(y.tolist(), y_pred.tolist(), marker="o"))
    # Even without colours, it sets them back in each line.
    return str(uncolorize(figure.build()))


def _of_targets(prediction: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the part of each target of a prediction by the target's name; samples whose value is not known are out."""
    y, y_pred = (np.asarray(prediction[name]) for name in ("y_true", "y_pred"))
    if y.ndim == 1 or y.shape != y_pred.shape:
        return {"": prediction}
    scores = ((prediction.get("scores") or {}).get(prediction["partition"]) or {}).get(TARGETS) or {}
    names = [*scores] if len(scores) == y.shape[1] else [f"y{number + 1}" for number in range(y.shape[1])]
    parts = {}
    for target, (name, known) in enumerate(zip(names, ~is_missing(y).T, strict=True)):
        parts[name] = prediction | {"y_true": y[known, target], "y_pred": y_pred[known, target]}
    return parts


def _is_of_classes(prediction: dict[str, Any]) -> bool:
    """Tell whether classes were predicted, whatever its writer calls that: nirs4all has `binary_classification`."""
    arrays = (np.asarray(prediction[name]) for name in ("y_true", "y_pred"))
    return "classification" in prediction["task_type"] or any(array.dtype.kind not in "biuf" for array in arrays)


def _confusion(y: Any, y_pred: Any) -> str:
    classes = np.unique(np.concatenate([np.ravel(y), np.ravel(y_pred)]))
    counts = [[str(np.sum((y == true) & (y_pred == predicted))) for predicted in classes] for true in classes]
    names = [printable(str(name)) for name in classes]
    width = max(map(len, [*names, "true"])) + 2
    lines = ["".join(cell.rjust(width) for cell in ("true", *names))]
    lines += ["".join(cell.rjust(width) for cell in (name, *row)) for name, row in zip(names, counts, strict=True)]
    return "\n".join(lines)


def save(prediction: dict[str, Any] | None, path: Path) -> Path:
    """Save a prediction's picture as PNG or as a page of HTML; return its path.

    Raises
    ------
    InvalidInputError
        It is no prediction with true values, the file's name ends in neither, or matplotlib is missing.
    """
    if prediction is None or prediction.get("y_true") is None or prediction.get("y_pred") is None:
        raise InvalidInputError("only a chain or prediction whose true values are known can be drawn; `top` has ids")
    if path.suffix.lower() not in (".png", ".html"):
        raise InvalidInputError(f"{path} says neither PNG nor HTML; give a name that ends in .png or .html")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise InvalidInputError("pictures need matplotlib: pip install 'nirs4all-store[plot]'") from error
    parts = _of_targets(prediction)
    figure = Figure(figsize=(5.5 * len(parts), 5), layout="constrained")
    for axes, (name, part) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
        _fill(axes, part, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        if path.suffix.lower() == ".png":
            figure.savefig(unfinished, format="png", dpi=150)
        else:
            figure.savefig(unfinished, format="svg")
            svg = unfinished.read_text(encoding="utf-8")
            unfinished.write_text(
                PAGE.format(title=escape(prediction["prediction_id"]), picture=svg[svg.index("<svg") :]),
                encoding="utf-8",
            )
    return path


def _fill(axes: Any, prediction: dict[str, Any], target: str) -> None:
    y, y_pred = prediction["y_true"], prediction["y_pred"]
    metric, partition = prediction["metric"], prediction["partition"]
    score = prediction.get(f"{partition}_score")
    is_together = prediction["fold_id"] in (AVERAGE, "final")
    metric = label(metric, partition).removesuffix(f" {partition}") if is_together else metric
    title = f"{prediction['model_name']}, {partition}" + ("" if score is None else f": {metric} {score:.4g}")
    title = f"{target}: {title}" if target else title
    axes.set_title(printable(title), parse_math=False)
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    if _is_of_classes(prediction):
        classes = np.unique(np.concatenate([np.ravel(y), np.ravel(y_pred)]))
        counts = np.array([[np.sum((y == true) & (y_pred == guess)) for true in classes] for guess in classes])
        axes.imshow(counts, cmap="Blues", origin="lower")
        names = [printable(str(name)) for name in classes]
        axes.set_xticks(range(len(classes)), names, parse_math=False)
        axes.set_yticks(range(len(classes)), names, parse_math=False)
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, count, ha="center", va="center")
        return
    axes.plot(y, y_pred, "o", alpha=0.7)
    ends = [min(np.min(y), np.min(y_pred)), max(np.max(y), np.max(y_pred))]
    axes.plot(ends, ends, "-", color="grey", linewidth=1)
    axes.set_aspect("equal")
