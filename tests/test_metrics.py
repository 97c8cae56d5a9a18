"""Scores agree with their definitions, and are left out where they have none."""

import numpy as np
import pytest
from sklearn import metrics

from nirs4all_store.metrics import scores_of

Y = np.array([1.0, 2.0, 4.0, 8.0])


def test_scores_of_numbers() -> None:
    found = scores_of("regression", Y, Y + np.array([1, -1, 1, 1]))
    assert found == {
        "rmse": 1.0,
        "mae": 1.0,
        "r2": pytest.approx(1 - 4 / np.sum((Y - Y.mean()) ** 2)),
        "rpd": pytest.approx(np.std(Y, ddof=1)),
        "bias": 0.5,
    }


def test_scores_of_several_targets_are_means() -> None:
    found = scores_of("regression", np.c_[Y, Y], np.c_[Y + 1, Y + 3])
    assert (found["rmse"], found["bias"]) == (2, 2)


def test_what_is_not_defined_is_left_out() -> None:
    assert scores_of("regression", Y[:1], Y[:1]).keys() == {"rmse", "mae", "bias"}
    assert "r2" not in scores_of("regression", np.ones(3), np.arange(3.0))
    assert "rpd" not in scores_of("regression", Y, Y)


def test_scores_of_classes() -> None:
    y, y_pred = np.array(list("aaab")), np.array(list("aabb"))
    assert scores_of("classification", y, y_pred) == {
        "accuracy": 0.75,
        "balanced_accuracy": pytest.approx(5 / 6),
        "f1": pytest.approx(metrics.f1_score(y, y_pred, average="macro")),
    }


def test_a_class_that_is_predicted_and_does_not_occur_warns_nobody() -> None:
    assert scores_of("classification", np.array(["a", "a"]), np.array(["a", "c"]))["balanced_accuracy"] == 0.5


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
    assert unseen.keys() == {"accuracy", "balanced_accuracy", "f1"}
