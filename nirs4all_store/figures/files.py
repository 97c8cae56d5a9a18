"""Predicted against measured in a file, drawn by matplotlib."""

from __future__ import annotations

import importlib.util
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..filesystem import atomic_write
from ..metrics import are_classes
from ..validation import printable
from .parts import Part, confusion_of, name_of_rmse, parts_of, short_names

FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf", ".html": "svg"}
PAGE = (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>prediction {title}</title>\n'
    "<body>{picture}</body></html>\n"
)
MARGIN = 0.06
MOST_GROUPS = 10
FEW, MANY = 100, 5000
"""Up to how many points these are large, and from how many on they are an image also in SVG and PDF."""
LONGEST_CLASS = 28
"""How many characters of the name of a class are shown."""
MOST_LINES = 3
"""On how many lines a title or the name of an axis may stand."""
MOST_BESIDE = 40
"""How many characters the names of classes may have together to stand side by side."""
MOST_WITH_ZEROS = 20
"""Of how many classes also the zeros are written."""
POINTS_SIZE, POINTS_SIDE = (11.5, 4.6), 3.6
LEAST_SIDE, MOST_SIDE = 4.5, 30
OF_CLASS, OF_LETTER, OF_LINES = 0.55, 0.085, 1.2
"""How much space there is for a class, for a letter of a text, and for the lines around the matrix.

These sizes are in inches.
"""


def check_figure(path: Path) -> None:
    """Refuse to draw a file whose name does not say its format, or without matplotlib.

    Raises
    ------
    InvalidInputError
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"{path} is no figure by its name; give one that ends in {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidInputError("figures need matplotlib: pip install 'nirs4all-store[plot]'")


def save(prediction: dict[str, Any] | None, path: Path) -> Path:
    """Save a figure of a prediction as PNG, SVG, PDF or as a page of HTML, as the file's name says; return its path.

    Of numbers it shows the predicted against the measured values and the residuals, of classes how often each became
    which. A row of it is a target.

    Parameters
    ----------
    prediction : dict
        With its arrays; see `views.drawing_of`.
    path : Path

    Raises
    ------
    InvalidInputError
        It is no prediction with true values, the file's name says no format, or matplotlib is missing.
    """
    check_figure(path)
    if prediction is None or prediction.get("y_true") is None or prediction.get("y_pred") is None:
        raise InvalidInputError("only a chain or prediction whose true values are known can be drawn; `top` has ids")
    from matplotlib import rc_context

    ending = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    # What has dollar signs in its name is no formula.
    with rc_context({"text.parse_math": False}), atomic_write(path) as unfinished:
        _figure(prediction).savefig(unfinished, format=FORMATS[ending], dpi=150, bbox_inches="tight")
        if ending == ".html":
            svg = unfinished.read_text(encoding="utf-8")
            page = PAGE.format(title=escape(prediction["prediction_id"]), picture=svg[svg.index("<svg") :])
            unfinished.write_text(page, encoding="utf-8")
    return path


def _figure(prediction: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    parts = parts_of(prediction)
    of_classes = are_classes([prediction])
    sizes = [_size_of_counts(part) if of_classes else POINTS_SIZE for part in parts]
    widths, heights = zip(*sizes, strict=True)
    figure = Figure(figsize=(max(widths), sum(heights)), layout="constrained")
    title = printable(prediction.get("title") or prediction["model_name"])
    figure.suptitle(_in_lines(title, max(widths)), fontsize="medium")
    rows = figure.subplots(len(parts), 1 if of_classes else 2, squeeze=False, height_ratios=heights)
    for row, part in zip(rows, parts, strict=True):
        if of_classes:
            _draw_counts(row[0], part)
        else:
            _draw_points(row[0], row[1], part, name_of_rmse(prediction))
    return figure


def _draw_points(axes: Any, residuals: Any, part: Part, rmse: str) -> None:
    """Draw the predicted against the measured values, and beside them the residuals."""
    groups = [*dict.fromkeys(part.groups)] if part.groups is not None else []
    groups = groups if 1 < len(groups) <= MOST_GROUPS else [None]
    measured, predicted, n = part.y.astype(float), part.y_pred.astype(float), len(part.y)
    style = {"s": 28 if n <= FEW else 10, "alpha": 0.8 if n <= FEW else 0.5, "linewidths": 0, "rasterized": n > MANY}
    for group in groups:
        own = slice(None) if group is None else part.groups == group
        y, y_pred = measured[own], predicted[own]
        axes.scatter(y, y_pred, label=group, **style)
        residuals.scatter(y, y_pred - y, **style)
    if n:
        low, high = (function(np.concatenate([measured, predicted])) for function in (np.min, np.max))
        space = MARGIN * (high - low or 1)
        axes.set(xlim=(low - space, high + space), ylim=(low - space, high + space), aspect="equal")
        most = float(np.max(np.abs(predicted - measured))) * (1 + 2 * MARGIN) or 1
        residuals.set(xlim=axes.get_xlim(), ylim=(-most, most))
    axes.axline((0, 0), slope=1, color="black", linewidth=0.8)
    residuals.axhline(0, color="black", linewidth=0.8)
    residuals.set_box_aspect(1)
    words = ("measured", "predicted", "predicted - measured")
    measured_name, predicted_name, residual_name = (_in_lines(word + part.quantity, POINTS_SIDE) for word in words)
    axes.set(xlabel=measured_name, ylabel=predicted_name)
    residuals.set(xlabel=measured_name, ylabel=residual_name)
    handles, labels = axes.get_legend_handles_labels()
    # Beside the panels, where it covers no point.
    place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderaxespad": 0, "alignment": "left"}
    residuals.legend(handles, labels, title=_scores_of(part, rmse), frameon=False, **place)


def _scores_of(part: Part, rmse: str) -> str:
    """Return the scores of one target as lines of text; what is not stored is computed of what is drawn.

    Of a model that does not predict some samples there are none: those of the others look better than it is.
    """
    scores = part.scores
    if part.n_unpredicted:
        return f"n = {scores.get('n', len(part.y) + part.n_unpredicted)}\n{part.unpredicted},\nso there are no scores"
    if "rmse" not in scores:
        from ..metrics import scores_of

        scores = scores_of("regression", part.y, part.y_pred)
    unit = f" {part.unit}" if part.unit else ""
    lines = [f"n = {scores.get('n', len(part.y))}"]
    named = [("rmse", rmse, unit), ("r2", "R²", ""), ("bias", "bias", unit)]
    named.append(("slope", "slope of measured\non predicted", ""))  # The picture has them the other way round.
    lines += [f"{name} = {scores[key]:.4g}{after}" for key, name, after in named if key in scores]
    return "\n".join(lines)


def _draw_counts(axes: Any, part: Part) -> None:
    """Draw how often each class (a row) was predicted as which (a column)."""
    classes, counts = confusion_of(part)
    names = short_names(classes, LONGEST_CLASS)
    axes.imshow(counts, cmap="Blues")
    axes.set_xticks(range(len(names)), names, **({"rotation": 45, "ha": "right"} if _are_long(names) else {}))
    axes.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(counts >= (0 if len(names) <= MOST_WITH_ZEROS else 1)):
        count = counts[row, column]
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, count, ha="center", va="center", color=color)
    side = _side_of(len(names))
    predicted_name, true_name = (_in_lines(f"{word} {part.name}".strip(), side) for word in ("predicted", "true"))
    axes.set(xlabel=predicted_name, ylabel=true_name)
    told = [("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy")]
    found = [f"n = {len(part.y)}", *(f"{word} = {part.scores[key]:.3g}" for key, word in told if key in part.scores)]
    axes.set_title(", ".join([*found, *filter(None, [part.unpredicted])]), fontsize="small")


def _size_of_counts(part: Part) -> tuple[float, float]:
    """Return the width and the height of a matrix of classes with their names around it, in inches."""
    names = short_names(confusion_of(part)[0], LONGEST_CLASS)
    side = _side_of(len(names))
    space = OF_LETTER * max(map(len, names), default=0)
    return side + space + OF_LINES, side + OF_LINES + (space if _are_long(names) else 0)


def _side_of(n_classes: int) -> float:
    """Return the side of a matrix of classes, in inches."""
    return float(np.clip(OF_CLASS * n_classes, LEAST_SIDE, MOST_SIDE))


def _in_lines(text: str, length: float) -> str:
    """Return text in as many lines as it needs to be no longer than a length in inches; the end of too much is cut."""
    most = int(length / OF_LETTER)
    return "\n".join(wrap(text, most, max_lines=MOST_LINES, placeholder=" …", break_on_hyphens=False))


def _are_long(names: list[str]) -> bool:
    return sum(map(len, names)) > MOST_BESIDE
