"""Predicted against measured, made of characters."""

from __future__ import annotations

from typing import Any

from ..validation import printable
from .parts import Part, are_classes, confusion_of, parts_of

WIDTH, HEIGHT = 64, 22


def draw(prediction: dict[str, Any]) -> str:
    """Return a picture made of characters of a prediction: points of numbers, or how often each class became which."""
    y, y_pred = prediction.get("y_true"), prediction.get("y_pred")
    if y is None or y_pred is None or not len(y):
        return "There is nothing to draw: its true values are not known."
    one = _counts if are_classes(prediction) else _points
    parts = parts_of(prediction)
    drawn = ["\n".join(filter(None, [one(part), part.unpredicted])) for part in parts]
    if len(parts) == 1:
        return drawn[0]
    return "\n".join(f"{printable(part.name)}\n{picture}" for part, picture in zip(parts, drawn, strict=True))


def _points(part: Part) -> str:
    from plotext import figure, uncolorize

    if not len(part.y):
        return "There is nothing to draw: nothing was predicted."
    ends = (float(min(part.y.min(), part.y_pred.min())), float(max(part.y.max(), part.y_pred.max())))
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(WIDTH, HEIGHT)
    figure.label("measured", "x")
    figure.label("predicted", "y")
    figure.draw(figure.segment(ends, ends, marker="."))
    figure.draw(figure.signal(part.y.tolist(), part.y_pred.tolist(), marker="o"))
    # Even without colours, it sets them back in each line.
    return str(uncolorize(figure.build()))


def _counts(part: Part) -> str:
    classes, counts = confusion_of(part)
    names = [printable(str(name)) for name in classes]
    width = max(map(len, [*names, "true"])) + 2
    lines = ["".join(cell.rjust(width) for cell in ("true", *names))]
    rows = [map(str, row) for row in counts.tolist()]
    lines += ["".join(cell.rjust(width) for cell in (name, *row)) for name, row in zip(names, rows, strict=True)]
    return "\n".join(lines)
