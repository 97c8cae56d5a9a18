"""Figures in files: what stands on the axes and beside them, with scikit-learn's numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import confusion_matrix, mean_squared_error, r2_score
from sklearn.model_selection import KFold, RepeatedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore, figures
from nirs4all_store.figures import files, parts
from nirs4all_store.metrics import scores_of
from nirs4all_store.views import drawing_of

X = np.random.default_rng(0).normal(size=(21, 3))
Y = 20 + 5 * X[:, 0] + np.random.default_rng(1).normal(size=21)
FOLDS = KFold(3, shuffle=True, random_state=0)


def drawing(store: WorkspaceStore, steps: list[Any], data: Any, fold: str = "avg", partition: str = "val") -> Any:
    """Train without a final model; return what is drawn of a prediction."""
    found = PipelineRunner(store).run(steps, data, refit=False)
    row = found.row(by_predicate=(pl.col("fold_id") == fold) & (pl.col("partition") == partition), named=True)
    return drawing_of(store, store.get_prediction(row["prediction_id"], load_arrays=True) or {})


def glucose(**parts: Any) -> dict[str, Any]:
    spectra = pl.DataFrame(X, schema=["1100", "1102", "1104"], orient="row")
    return {"X": spectra.with_columns(glucose=Y), "y": "glucose", "unit": "g/l", "name": "wine", **parts}


def texts_of(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def test_a_figure_says_what_was_measured_and_how_well_it_was_predicted(store: WorkspaceStore) -> None:
    figure = files._figure(drawing(store, [FOLDS, Ridge(0.5)], glucose()))
    points, residuals = figure.axes
    assert (points.get_xlabel(), points.get_ylabel()) == ("measured glucose (g/l)", "predicted glucose (g/l)")
    assert residuals.get_ylabel() == "predicted - measured glucose (g/l)"
    assert figure.get_suptitle() == "Ridge (alpha=0.5), wine: cross-validation"
    predicted = cross_val_predict(Ridge(0.5), X, Y, cv=FOLDS)
    slope = LinearRegression().fit(predicted[:, None], Y).coef_[0]
    assert residuals.get_legend().get_title().get_text().splitlines() == [
        "n = 21",
        f"RMSECV = {mean_squared_error(Y, predicted) ** 0.5:.4g} g/l",
        f"R² = {r2_score(Y, predicted):.4g}",
        f"bias = {np.mean(predicted - Y):.4g} g/l",
        "slope of measured",  # The axes would tell another one.
        f"on predicted = {slope:.4g}",
    ]


def test_points_are_coloured_by_the_fold_that_held_them_out_and_axes_are_alike(store: WorkspaceStore) -> None:
    points, residuals = files._figure(drawing(store, [FOLDS, Ridge()], glucose())).axes
    assert texts_of(residuals.get_legend()) == ["fold 0", "fold 1", "fold 2"]
    predicted = cross_val_predict(Ridge(), X, Y, cv=FOLDS)
    for axes, values in ((points, predicted), (residuals, predicted - Y)):
        assert len({tuple(group.get_facecolor()[0]) for group in axes.collections}) == 3
        for group, (_, held_out) in zip(axes.collections, FOLDS.split(X), strict=True):
            np.testing.assert_allclose(group.get_offsets(), np.transpose([Y[held_out], values[held_out]]))
    assert points.get_xlim() == points.get_ylim() == residuals.get_xlim()
    assert points.get_aspect() == 1
    assert points.get_lines()[0].get_slope() == 1
    assert points.get_lines()[0].get_xy1() == (0, 0)


def test_repeats_are_drawn_each_and_many_folds_in_one_colour(store: WorkspaceStore) -> None:
    repeats = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    points, residuals = files._figure(drawing(store, [repeats, Ridge()], glucose())).axes
    assert texts_of(residuals.get_legend()) == ["repeat 0", "repeat 1"]
    assert [len(group.get_offsets()) for group in points.collections] == [21, 21], "their means look better than any"
    points, residuals = files._figure(drawing(store, [KFold(11), Ridge()], glucose())).axes
    assert texts_of(residuals.get_legend()) == []
    assert [len(group.get_offsets()) for group in points.collections] == [21]


def test_what_is_no_cross_validation_is_called_otherwise(store: WorkspaceStore) -> None:
    train = files._figure(drawing(store, [FOLDS, Ridge()], (X, Y), "0", "train"))
    points, residuals = train.axes
    assert (points.get_xlabel(), points.get_ylabel()) == ("measured", "predicted"), "y has no name"
    assert residuals.get_legend().get_title().get_text().splitlines()[1].startswith("RMSE = ")
    assert train.get_suptitle().endswith(": calibration, fold 0")


def test_each_target_has_a_row_of_its_own(store: WorkspaceStore) -> None:
    spectra = glucose()["X"].with_columns(ash=pl.Series([*X[:20, 1], None]))
    drawn = drawing(store, [FOLDS, Ridge()], glucose(X=spectra, y=["glucose", "ash"], unit=["g/l", "%"]))
    axes = files._figure(drawn).axes
    assert [one.get_xlabel() for one in axes[::2]] == ["measured glucose (g/l)", "measured ash (%)"]
    titles = [one.get_legend().get_title().get_text() for one in axes[1::2]]
    assert [title.splitlines()[0] for title in titles] == ["n = 21", "n = 20"]
    assert [title.splitlines()[1].split()[-1] for title in titles] == ["g/l", "%"]


def test_classes_are_counted_as_scikit_learn_counts_them(store: WorkspaceStore) -> None:
    y = np.where(Y > 20, "a name of a class that is much too long to stand below a column", "low")
    drawn = drawing(store, [FOLDS, KNeighborsClassifier(3)], {"X": glucose()["X"].drop("glucose"), "y": y})
    (axes,) = files._figure(drawn).axes
    expected = confusion_matrix(y, cross_val_predict(KNeighborsClassifier(3), X, y, cv=FOLDS))
    assert [int(text.get_text()) for text in axes.texts] == expected.ravel().tolist()
    np.testing.assert_array_equal(axes.images[0].get_array(), expected)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a name of a c…elow a column", "low"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title().startswith("n = 21, accuracy = ")


GRADES = np.array([f"a rather long class name, number {number} of the classes" for number in range(6)])


def grades(y_pred: Any = GRADES[::-1]) -> dict[str, Any]:
    drawn = {"task_type": "classification", "model_name": "kNN", "partition": "val", "fold_id": "avg"}
    return drawn | {"y_true": GRADES, "y_pred": y_pred}


def test_long_names_of_classes_that_differ_in_the_middle_were_all_alike() -> None:
    (axes,) = files._figure(grades()).axes
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown[:2] == ["a rathe…number 0 of the cla…", "a rathe…number 1 of the cla…"]
    assert shown == [text.get_text() for text in axes.get_xticklabels()]
    assert len({*shown}) == 6


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["sample", "a long name"], ["sample", "a long name"]),
        (["left, then the end", "right, then the end"], ["left, …he end", "right,…he end"]),
        (["the long name 1 is long", "the long name 2 is long"], ["the…ng name 1…", "the…ng name 2…"]),
        (["a long A, then long X, end", "a long A, then long Y, end", "a long B, then long X, end"], None),
    ],
)
def test_short_names_are_different_if_the_names_are(names: list[str], shown: list[str] | None) -> None:
    found = parts.short_names(names, 14)
    assert shown in (None, found)
    assert len({*found}) == len(names)
    assert max(map(len, found)) <= 14


def test_a_table_of_classes_was_wider_than_a_terminal_if_their_names_are_long() -> None:
    lines = figures.draw(grades()).splitlines()
    assert lines[0].split() == ["true", "1", "2", "3", "4", "5", "6"]
    assert lines[1].split("  ")[1:] == ["1 a rather long class nam…number 0 of the classes", *"000001"]
    assert max(map(len, lines)) <= 80


def test_a_long_name_of_a_target_made_a_picture_that_is_mostly_empty() -> None:
    name = "a_very_long_target_name_" * 9
    drawn = {"prediction_id": "p", "task_type": "regression", "model_name": "PLS", "partition": "val", "fold_id": "avg"}
    drawn |= {
        "y_true": Y,
        "y_pred": Y + 1,
        "target_names": [name],
        "title": f"{name} " * 3,
        "units": {name: "g/l" * 20},
    }
    figure = files._figure(drawn)
    figure.draw_without_rendering()
    wanted, (whole, left) = figure.get_tightbbox(), figure.get_size_inches()
    assert wanted.width < whole + 1
    assert wanted.height < left + 0.5
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert boxes[0].x1 < boxes[1].x0, "the names of the axes overlap"


# Tests of the command line save PNG and HTML.
@pytest.mark.parametrize(("ending", "beginning"), [("SVG", b"<?xml"), ("pdf", b"%PDF")])
def test_a_figure_has_the_format_that_its_name_says(tmp_path: Path, ending: str, beginning: bytes) -> None:
    drawn = {
        "prediction_id": "p",
        "task_type": "regression",
        "model_name": "PLS",
        "partition": "test",
        "fold_id": "final",
    }
    path = figures.save(drawn | {"y_true": Y, "y_pred": Y + 1}, tmp_path / f"new/figure.{ending}")
    assert path.read_bytes().startswith(beginning)


def test_a_figure_of_no_format_or_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"is no figure by its name; give one that ends in .png, .svg, .pdf, .html"
    ):
        figures.check_figure(tmp_path / "figure.gif")
    with pytest.raises(InvalidInputError, match="only a chain or prediction whose true values are known can be drawn"):
        figures.save(None, tmp_path / "figure.png")


def test_a_class_for_each_sample_is_not_too_large_to_draw(tmp_path: Path) -> None:
    y = np.array([f"sample {number}" for number in range(60)])
    drawn = {"prediction_id": "p", "task_type": "classification", "model_name": "kNN", "partition": "test"}
    figure = files._figure(drawn | {"fold_id": "final", "y_true": y, "y_pred": y})
    assert max(figure.get_size_inches()) < 40


def test_values_that_were_not_predicted_are_left_out() -> None:
    drawn = {"task_type": "regression", "model_name": "PLS", "partition": "val", "fold_id": "0"}
    for predicted in (np.where(Y > 20, np.nan, np.where(Y < 18, np.inf, Y)), np.full(21, np.nan)):
        points, _ = files._figure(drawn | {"y_true": Y, "y_pred": predicted}).axes
        assert len(points.collections[0].get_offsets()) == np.sum(np.isfinite(predicted))
        figures.draw(drawn | {"y_true": Y, "y_pred": predicted})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_figure_of_a_model_that_predicts_nan_had_the_scores_of_the_others(value: float) -> None:
    predicted = np.where(np.arange(21) < 3, value, Y + 1)
    drawn = {"task_type": "regression", "model_name": "radius", "partition": "val", "fold_id": "avg"}
    stored = {"val": scores_of("regression", Y, predicted)}
    assert "rmse" not in stored["val"]
    for scores in (stored, None):
        picture = drawn | {"y_true": Y, "y_pred": predicted, "scores": scores}
        _, residuals = files._figure(picture).axes
        told = residuals.get_legend().get_title().get_text().splitlines()
        assert told == ["n = 21", "3 of 21 without a prediction,", "so there are no scores"]
        assert figures.draw(picture).splitlines()[-1] == "3 of 21 without a prediction"
