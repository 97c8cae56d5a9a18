"""What nirs4all's chains say of ways side by side, as far as no chain that is imported shows it."""

from typing import Any

import pytest

from nirs4all_store import ChainReplayError
from nirs4all_store.chains.feature_views import Views, branches_of, chosen, groups_of, merged


@pytest.mark.parametrize(
    ("told", "features", "predictions"),
    [
        ("features", "all", None),
        ("predictions", None, "all"),
        ("all", "all", "all"),
        ({"features": "all"}, "all", None),
        ({"features": [0], "predictions": [1]}, [0], [1]),
        ({"predictions": "all"}, None, "all"),
    ],
)
def test_each_form_of_a_merge_is_understood(told: Any, features: Any, predictions: Any) -> None:
    assert merged({"steps": [{"params": {}}, {"params": {"merge": told}}]}) == (features, predictions)
    assert merged({"steps": [{"params": None}]}) == (None, None)


@pytest.mark.parametrize("told", [{"predictions": {"select": "best"}}, 3, {"features": ["first"]}])
def test_a_merge_that_nobody_has_seen_is_refused(told: Any) -> None:
    with pytest.raises(ChainReplayError, match=r"merges .* not understood"):
        merged({"chain_id": "c", "steps": [{"params": {"merge": told}}]})


def test_branches_are_chosen_by_their_numbers() -> None:
    config = {"steps": [{"branch": {"a": ["S", {"model": "M"}], "b": ["P", "Q", {"model": "M"}]}}]}
    groups = branches_of(config, 1, ["s", "p", "q"], without_models=True)
    assert groups == [["s"], ["p", "q"]]
    assert chosen(groups, [1]) == [["p", "q"]]
    assert branches_of(config, 1, ["s", "p", "q"]) is None
    assert branches_of([], 1, ["s"]) is None
    assert groups_of("no list", ["s"]) is None


def test_later_steps_transform_the_last_copies() -> None:
    views = Views.augmented([["a"], ["b"]], Views.augmented([["c"]], None))
    assert views.ways == [[], ["c"], ["a"], ["b"]]
    assert (views.takes(["x", "y"]), views.takes(["x"]), views.takes(["x"] * 5)) == (True, False, False)
    views.transform(["x", "y"])
    assert views.ways == [[], ["c"], ["a", "x"], ["b", "y"]]
