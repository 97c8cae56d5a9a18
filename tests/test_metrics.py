"""Scores agree with their definitions and with scikit-learn's, and are left out where they have none."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from nirs4all_store.metrics.names import BEST_VALUE, NAMES, distance_from_best, label, lower_is_better
from nirs4all_store.metrics.scores import CLASSIFICATION, REGRESSION, class_scores, over_repeats, score_of, scores_of

Y = np.array([1.0, 2.0, 4.0, 8.0])


def test_scores_of_numbers() -> None:
    y_pred = Y + np.array([1, -1, 1, 1])
    e = y_pred - Y
    assert scores_of("regression", Y, y_pred) == {
        "rmse": pytest.approx(metrics.root_mean_squared_error(Y, y_pred)),
        "mae": pytest.approx(metrics.mean_absolute_error(Y, y_pred)),
        "r2": pytest.approx(metrics.r2_score(Y, y_pred)),
        "bias": pytest.approx(e.mean()),
        "sep": pytest.approx(np.sqrt(np.sum((e - e.mean()) ** 2) / 3)),
        "rpd": pytest.approx(np.std(Y, ddof=1) / 1.0),
        "rpiq": pytest.approx(stats.iqr(Y) / 1.0),
        "slope": pytest.approx(stats.linregress(y_pred, Y).slope),
        "n": 4,
    }


@pytest.mark.parametrize("size", [2, 3, 100, 1001])
def test_scores_of_numbers_are_scikit_learns_to_the_bit(size: int) -> None:
    generator = np.random.default_rng(size)
    y = generator.normal(100, 7, size)
    y_pred, some = y + generator.normal(size=size), generator.random(size) + 0.1
    for weights in (None, some):
        found = scores_of("regression", y, y_pred, weights=weights)
        assert (found["rmse"], found["mae"], found["r2"]) == (
            metrics.root_mean_squared_error(y, y_pred, sample_weight=weights),
            metrics.mean_absolute_error(y, y_pred, sample_weight=weights),
            metrics.r2_score(y, y_pred, sample_weight=weights),
        )


def test_rmse_bias_and_sep_agree_with_each_other() -> None:
    y_pred = Y + np.array([0.3, -1.2, 0.5, 2.0])
    found = scores_of("regression", Y, y_pred)
    assert found["rmse"] ** 2 == pytest.approx(found["bias"] ** 2 + found["sep"] ** 2 * 3 / 4)


def test_the_mean_rmse_of_targets_with_different_units_meant_nothing() -> None:
    found = scores_of("regression", np.c_[Y, 100 * Y], np.c_[Y + 1, 100 * Y - 300], targets=["protein", "moisture"])
    assert found["targets"] == {
        "protein": scores_of("regression", Y, Y + 1),
        "moisture": scores_of("regression", 100 * Y, 100 * Y - 300),
    }
    r2 = metrics.r2_score(np.c_[Y, 100 * Y], np.c_[Y + 1, 100 * Y - 300])
    assert found["r2"] == pytest.approx(r2)
    assert found.keys() == {"r2", "rpd", "rpiq", "slope", "n", "targets"}


def test_a_row_that_misses_one_target_counts_for_the_others() -> None:
    y = np.c_[Y, [np.nan, 1.0, 2.0, 3.0]]
    own = scores_of("regression", y, np.c_[Y + 1, Y])["targets"]
    assert own == {"y1": scores_of("regression", Y, Y + 1), "y2": scores_of("regression", y[1:, 1], Y[1:])}
    nothing = scores_of("regression", np.c_[Y, np.full(4, np.nan)], np.c_[Y, Y])
    assert (nothing["targets"]["y2"], "r2" in nothing) == ({"n": 0}, False)


def test_what_is_not_defined_is_left_out() -> None:
    assert scores_of("regression", Y[:1], Y[:1]).keys() == {"rmse", "mae", "bias", "n"}
    assert "r2" not in scores_of("regression", np.ones(3), np.arange(3.0))
    assert not {"rpd", "rpiq"} & scores_of("regression", Y, Y).keys()
    assert "slope" not in scores_of("regression", Y, np.ones(4))
    assert not {"rmse", "sep", "rpd"} & scores_of("regression", Y, 1e200 * Y).keys()


def test_scores_of_classes() -> None:
    y, y_pred = np.array(list("aaab")), np.array(list("aabb"))
    assert scores_of("classification", y, y_pred) == {
        "accuracy": 0.75,
        "balanced_accuracy": pytest.approx(5 / 6),
        "f1": pytest.approx(metrics.f1_score(y, y_pred, average="macro")),
        "mcc": pytest.approx(metrics.matthews_corrcoef(y, y_pred)),
        "n": 4,
    }


def test_scores_of_each_class_are_those_of_scikit_learns_report() -> None:
    y, y_pred = np.array(list("aaabc")), np.array(list("aabbb"))
    report = metrics.classification_report(y, y_pred, output_dict=True, zero_division=0.0)
    found = class_scores(y, y_pred)
    assert found.keys() == set("abc")
    for name, own in found.items():
        names = ("precision", "recall", "f1-score", "support")
        assert list(own.values()) == pytest.approx([report[name][theirs] for theirs in names])
    assert scores_of("classification", y, y_pred, of_classes=True)["classes"] == found


def test_a_class_that_is_predicted_and_does_not_occur_warns_nobody() -> None:
    assert scores_of("classification", np.array(["a", "a"]), np.array(["a", "c"]))["balanced_accuracy"] == 0.5
    assert "mcc" not in scores_of("classification", np.array(["a", "a"]), np.array(["a", "a"]))


def test_scores_of_probabilities() -> None:
    y, classes = np.array(list("abcab")), np.array(list("abc"))
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    found = scores_of("classification", y, classes[proba.argmax(axis=1)], proba, classes)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, proba))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, proba, multi_class="ovr"))
    half = scores_of("classification", y[:2], y[:2], proba[:2], classes)
    assert "log_loss" in half
    assert "roc_auc" not in half
    unseen = scores_of("classification", np.array(["a", "z"]), np.array(["a", "a"]), proba[:2], classes)
    assert unseen.keys() == {"accuracy", "balanced_accuracy", "f1", "mcc", "n"}


def test_one_score_alone_is_that_among_all() -> None:
    y_pred = Y + np.array([0.3, -1.2, 0.5, 2.0])
    all_scores = scores_of("regression", Y, y_pred)
    assert {name: score_of(name, Y, y_pred) for name in REGRESSION} == {name: all_scores[name] for name in REGRESSION}
    y, classes = np.array(list("abcab")), np.array(list("abc"))
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    labels = np.array(list("aacab"))
    all_scores = scores_of("classification", y, labels, proba, classes)
    for name in (*CLASSIFICATION, "roc_auc", "log_loss"):
        assert score_of(name, y, labels, proba) == all_scores[name]
    assert score_of("rmse", y, labels) is score_of("log_loss", y, labels, proba[:, :2]) is None


def test_each_metric_has_a_direction_and_a_best_value() -> None:
    assert NAMES["regression"] == (*REGRESSION,)
    assert NAMES["classification"] == (*CLASSIFICATION, "roc_auc", "log_loss")
    for name in (*NAMES["regression"], *NAMES["classification"]):
        assert (lower_is_better(name) is None) == (name in BEST_VALUE)
    assert distance_from_best("bias", [-3.0, 1.0]).tolist() == [3, 1]
    assert distance_from_best("slope", [1.5, 0.8]) == pytest.approx([0.5, 0.2])
    assert distance_from_best("r2", [0.9]).tolist() == [-0.9]
    assert distance_from_best("rmse", [0.9]).tolist() == [0.9]


def test_an_rmse_is_called_by_what_it_was_calculated_of() -> None:
    assert [label("rmse", partition) for partition in ("train", "val", "test")] == ["RMSEC", "RMSECV", "RMSEP"]
    assert label("r2", "val") == "r2 val"


def test_the_difference_of_small_integers_once_wrapped_around() -> None:
    y, y_pred = np.array([20, 30], dtype=np.uint8), np.array([5, 15], dtype=np.uint8)
    found = scores_of("regression", y, y_pred)
    assert (found["bias"], found["rmse"]) == (-15, 15)


def test_scores_of_several_labels_once_had_scikit_learns_names_and_other_values() -> None:
    y, y_pred = np.array([[1, 0], [1, 1], [0, 0], [1, 0]]), np.array([[1, 0], [0, 1], [0, 1], [1, 1]])
    found = scores_of("classification", y, y_pred)
    assert found["accuracy"] == metrics.accuracy_score(y, y_pred)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, y_pred, average="macro"))


def test_a_binary_roc_auc_once_was_the_mean_of_both_classes() -> None:
    proba = np.array([0.0, 1e-20, 0.3, 1.0])  # 1 - 1e-20 is 1, and so the first class has a tie where this has none.
    y, both = np.array([0, 1, 0, 1]), np.c_[1 - proba, proba]
    found = scores_of("classification", y, y, both, np.array([0, 1]))
    assert found["roc_auc"] == metrics.roc_auc_score(y, proba)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_log_loss_once_clipped_otherwise_than_scikit_learn(dtype: type) -> None:
    y, proba = np.array([0, 1, 1]), np.array([[1, 0], [1, 0], [0, 1]], dtype=dtype)
    found = scores_of("classification", y, y, proba, np.array([0, 1]))
    assert found["log_loss"] == metrics.log_loss(y, proba)


def test_what_a_decision_function_gives_has_a_curve() -> None:
    y, values = np.array(list("abcab")), np.random.default_rng(0).normal(size=(5, 3))
    found = scores_of("classification", y, y, classes=np.array(list("abc")), decision=values)
    areas = [metrics.roc_auc_score(y == name, values[:, i]) for i, name in enumerate("abc")]
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    assert "log_loss" not in found


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
def test_scores_of_numbers_with_weights_are_those_of_scikit_learn(metric: str) -> None:
    rng = np.random.default_rng(0)
    y, weights = rng.normal(size=30), rng.integers(0, 4, 30).astype(float)
    y_pred = y + rng.normal(size=30)
    theirs = {"rmse": metrics.root_mean_squared_error, "mae": metrics.mean_absolute_error, "r2": metrics.r2_score}
    own = theirs[metric](y, y_pred, sample_weight=weights)
    found = scores_of("regression", y, y_pred, weights=weights)
    assert found[metric] == pytest.approx(own)
    assert score_of(metric, y, y_pred, weights=weights) == found[metric]


def test_deviations_with_weights_are_numpys_and_equal_weights_change_nothing() -> None:
    rng = np.random.default_rng(0)
    y, weights = rng.normal(size=30), rng.uniform(0.5, 3, 30)
    y_pred = y + rng.normal(size=30)
    found = scores_of("regression", y, y_pred, weights=weights)
    assert found["bias"] == pytest.approx(np.average(y_pred - y, weights=weights))
    assert found["sep"] == pytest.approx(np.sqrt(np.cov(y_pred - y, aweights=weights)))
    assert found["rpd"] == pytest.approx(np.sqrt(np.cov(y, aweights=weights)) / found["rmse"])
    line = np.polyfit(y_pred, y, 1, w=np.sqrt(weights))
    assert found["slope"] == pytest.approx(line[0])
    equal = scores_of("regression", y, y_pred, weights=np.full(30, 7.0))
    plain = scores_of("regression", y, y_pred)
    assert equal == pytest.approx({name: plain[name] for name in plain if name != "rpiq"})  # It has no quartiles.


def test_scores_of_classes_with_weights_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, y_pred, weights = rng.choice([*"abc"], 40), rng.choice([*"abc"], 40), rng.integers(0, 4, 40)
    proba, classes = rng.dirichlet(np.ones(3), size=40), np.array([*"abc"])
    found = scores_of("classification", y, y_pred, proba, classes, weights=weights, of_classes=True)
    named: dict[str, float] = {"sample_weight": weights}
    assert {name: found[name] for name in found if name not in ("classes", "n")} == pytest.approx(
        {
            "balanced_accuracy": metrics.balanced_accuracy_score(y, y_pred, **named),
            "accuracy": metrics.accuracy_score(y, y_pred, **named),
            "f1": metrics.f1_score(y, y_pred, average="macro", **named),
            "mcc": metrics.matthews_corrcoef(y, y_pred, **named),
            "log_loss": metrics.log_loss(y, proba, **named),
            "roc_auc": metrics.roc_auc_score(y, proba, multi_class="ovr", **named),
        }
    )
    report = metrics.classification_report(y, y_pred, output_dict=True, **named)
    assert {name: own["support"] for name, own in found["classes"].items()} == {
        name: report[name]["support"] for name in "abc"
    }


def test_a_sample_without_prediction_once_ended_in_scikit_learns_words() -> None:
    y_pred = np.array([1.0, np.nan, 4.0, np.nan])
    assert scores_of("regression", Y, y_pred) == {"n_unpredicted": 2, "n": 4}
    assert np.isnan(score_of("rmse", Y, y_pred) or 0.0)
    assert scores_of("regression", np.array([1, np.nan, 4, np.nan]), y_pred)["rmse"] == 0  # What has no y asks nothing.
    found = scores_of("regression", np.c_[Y, Y], np.c_[Y, y_pred])
    assert found == {
        "n": 4,
        "n_unpredicted": 2,
        "targets": {"y1": scores_of("regression", Y, Y), "y2": {"n_unpredicted": 2, "n": 4}},
    }
    repeats = over_repeats([scores_of("regression", Y, Y + 1), scores_of("regression", Y, y_pred)])
    assert repeats == {"n": 4, "n_repeats": 2, "n_unpredicted": 2}
    proba = np.array([[0.5, 0.5], [np.nan, np.nan]])
    found = scores_of("classification", np.array([0, 1]), np.array([0, 1]), proba, np.array([0, 1]))
    assert not {"log_loss", "roc_auc"} & found.keys()
