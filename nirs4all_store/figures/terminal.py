"""Predicted against measured, made of characters."""

from __future__ import annotations

from typing import Any

from ..metrics import are_classes
from .parts import Part, confusion_of, parts_of, short_names

WIDTH, HEIGHT = 64, 22
MOST_BESIDE, GAP = 80, 2
"""How wide a table of classes with their names above it may be, and how far apart its columns are."""
LONGEST_CLASS = 48
"""How many characters of the name of a class are shown."""


def draw(prediction: dict[str, Any]) -> str:
    """Return a picture made of characters of a prediction: points of numbers, or how often each class became which."""
    y, y_pred = prediction.get("y_true"), prediction.get("y_pred")
    if y is None or y_pred is None or not len(y):
        return "There is nothing to draw: its true values are not known."
    one = _counts if are_classes([prediction]) else _points
    parts = parts_of(prediction)
    drawn = ["\n".join(filter(None, [one(part), part.unpredicted])) for part in parts]
    if len(parts) == 1:
        return drawn[0]
    return "\n".join(f"{part.name}\n{picture}" for part, picture in zip(parts, drawn, strict=True))


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
    return str(uncolorize(figure.build())).rstrip("\n")


def _counts(part: Part) -> str:
    """Return how often each class became which; where their names are too long to stand side by side, numbers do."""
    classes, counts = confusion_of(part)
    names = short_names(classes, LONGEST_CLASS)
    columns = names
    if (max(map(len, [*names, "true"])) + GAP) * (len(names) + 1) > MOST_BESIDE:
        columns = [str(number + 1) for number in range(len(names))]
        names = [f"{number.rjust(len(columns[-1]))} {name}" for number, name in zip(columns, names, strict=True)]
        names = [name.ljust(max(map(len, names))) for name in names]
    texts = [[str(count) for count in row] for row in counts.tolist()]
    width = max(len(cell) for row in (columns, *texts) for cell in row) + GAP
    of_names = max(map(len, [*names, "true"])) + GAP
    rows = [("true", columns), *zip(names, texts, strict=True)]
    return "\n".join(name.rjust(of_names) + "".join(cell.rjust(width) for cell in row) for name, row in rows)
