"""Which models are ranked together, and which of them are as good as the best, as far as one can tell. No printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ..datasets import AVERAGE
from ..store import WorkspaceStore
from .listings import decoded, dict_of, text_of, texts_of, with_params

LIKE_THE_BEST = "*"
"""Marks models that are as good as the best, as far as one can tell."""
NOT_TRUSTED = "imported, and predicts only once you trust who made it: import it again with --trusted"


@dataclass(frozen=True)
class Judged:
    """Models of rankings that are listed, with what keeps them apart and which are like the best.

    `rows`, `told` (by what each was judged), `hashes` (of its data) and `marks` (its place) have one item for each;
    `chains` and `pipelines` are the rows of `rank_chains` and `list_pipelines` by id; `sizes` has how many models of
    each ranking are known, and how many of these are like its best.
    """

    predictions: pl.DataFrame
    rows: list[dict[str, Any]]
    told: list[dict[str, Any]]
    hashes: list[Any]
    marks: list[Any]
    chains: dict[str, dict[str, Any]]
    pipelines: dict[str, dict[str, Any]]
    notes: list[str]
    sizes: list[tuple[int, int]]

    @property
    def bests(self) -> list[dict[str, Any]]:
        """The rows that are first in their rankings."""
        return [row for row, mark in zip(self.rows, self.marks, strict=True) if place_of(mark) == 1]

    def may_go_on(self, asked: int) -> bool:
        """Tell whether models of which nobody has asked may be like the best, too."""
        return any(asked <= known == alike for known, alike in self.sizes)


def judged(store: WorkspaceStore, predictions: pl.DataFrame, limit: int | None) -> Judged:
    """Return models, best first, with what keeps them apart.

    Parameters
    ----------
    store : WorkspaceStore
    predictions : polars.DataFrame
        What `rank` gives, or the best predictions of a run.
    limit : int or None
        How many models of each ranking are listed; None: all. The others only count among those like the best.
    """
    rows = [decoded(row) for row in predictions.to_dicts()]
    found = store.list_pipelines(pipeline_ids=predictions["pipeline_id"].drop_nulls().unique())
    pipelines = {row["pipeline_id"]: row for row in found.iter_rows(named=True)}
    of_rows = [pipelines.get(row["pipeline_id"], {}) for row in rows]  # A damaged workspace may lack one.
    told, hashes = [dict_of(own.get("judged_by")) for own in of_rows], [own.get("dataset_hash") for own in of_rows]
    keys = _keys(rows, told, hashes)
    places = [row.get("rank") or keys[: number + 1].count(keys[number]) for number, row in enumerate(rows)]
    shown = [number for number, place in enumerate(places) if limit is None or place <= limit]
    chains = _told_of(store, [rows[number] for number in shown])
    known_alike = _like_the_best(rows, keys, chains)
    alike = {best: own for best, own in known_alike.items() if len(own) > 1}
    marks = _marked(places, alike)
    return Judged(
        predictions=predictions[shown],
        rows=[rows[number] for number in shown],
        told=[told[number] for number in shown],
        hashes=[hashes[number] for number in shown],
        marks=[marks[number] for number in shown],
        chains=chains,
        pipelines=pipelines,
        notes=_notes(rows, alike, shown),
        sizes=[(keys.count(keys[best]), len(own)) for best, own in known_alike.items()],
    )


def _keys(rows: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]], hashes: Sequence[Any]) -> list[Any]:
    """Return of each model by what it was judged: those that agree in it are ranked together."""
    return [
        (own.get("folds"), content, row["task_type"], row["metric"])
        for row, own, content in zip(rows, told, hashes, strict=True)
    ]


def _marked(places: Sequence[int], alike: Mapping[int, list[int]]) -> list[Any]:
    """Return the place of each model in its ranking, with a mark where it is like the best of it."""
    marked = {place for own in alike.values() for place in own}
    if not marked:
        return [*places]
    return [f"{place}{LIKE_THE_BEST * (number in marked)}" for number, place in enumerate(places)]


def place_of(mark: Any) -> int:
    """Return the number in front of a row of a ranking, which may have the mark of those like the best."""
    return int(str(mark).rstrip(LIKE_THE_BEST))


def _told_of(store: WorkspaceStore, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what is told of each chain by its id; nothing of predictions that are not of all folds together."""
    chains = [row["chain_id"] for row in rows if row["fold_id"] == AVERAGE and row["chain_id"] is not None]
    if not chains:
        return {}
    found = store.rank_chains(ascending=True, copies=True, limit=None, chain_id=chains).rows
    return {row["chain_id"]: row for row in found.to_dicts()}


def _like_the_best(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[Any], chains: Mapping[str, Mapping[str, Any]]
) -> dict[int, list[int]]:
    """Return which rows are within one standard error of the best of their ranking, that one too, by its place."""
    found: dict[int, list[int]] = {}
    is_mixed = len({row["fold_id"] for row in rows}) > 1  # A single fold may stand above all folds together.
    for place, row in enumerate(rows):
        best = keys.index(keys[place])
        told, score = chains.get(rows[best]["chain_id"], {}), row["val_score"]
        is_ranked_so = row["fold_id"] == AVERAGE and row.get("score") in (None, score)
        if is_mixed or not is_ranked_so or told.get("rmsecv_se") is None:
            continue
        if score is not None and score <= told["rmsecv"] + told["rmsecv_se"]:
            found.setdefault(best, []).append(place)
    return found


def _notes(rows: Sequence[Mapping[str, Any]], alike: Mapping[int, list[int]], shown: Sequence[int]) -> list[str]:
    """Return the sentence that says what is marked, how much more would be, and which of all that is the simplest."""
    if not alike:
        return []
    more = len({place for places in alike.values() for place in places} - {*shown})
    simplest = [_simplest([rows[place] for place in places]) for places in alike.values()]
    named = [with_params(row) + f" {row['preprocessings'] or ''}".rstrip() for row in simplest if row is not None]
    told = f"; the simplest of them: {', '.join(dict.fromkeys(named))}" if named else ""
    beyond = f", and {more:,} more that {'is' if more == 1 else 'are'} not listed" if more else ""
    return [f"{LIKE_THE_BEST} within one standard error of the best{beyond}{told}"]


def _simplest(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return of models of one class that with the fewest steps, then components; None if that is not one of them."""
    if len({row["model_class"] for row in rows}) > 1:
        return None
    sizes = [(_number_of_steps(row), dict_of(row["best_params"]).get("n_components")) for row in rows]
    fewest = min(steps for steps, _ in sizes)
    left = [(components, row) for (steps, components), row in zip(sizes, rows, strict=True) if steps == fewest]
    if len(left) == 1:
        return left[0][1]
    known = [(components, row) for components, row in left if isinstance(components, int)]
    least = min((components for components, _ in known), default=0)
    simplest = [row for components, row in known if components == least]
    return simplest[0] if len(known) == len(left) and len(simplest) == 1 else None


def _number_of_steps(row: Mapping[str, Any]) -> int:
    return len(row["preprocessings"].split(" > ")) if row["preprocessings"] else 0


def notes_on(store: WorkspaceStore, found: Judged) -> list[str]:
    """Return what scores alone do not say.

    That is which models cannot predict yet, over which targets scores are means, and where no model has learnt
    anything. The scores are those that are listed, so that of one target among several there is no mean.
    """
    untrusted = store.untrusted_chains({row["chain_id"] for row in found.rows} - {None})
    pairs = zip(found.marks, found.rows, strict=True)
    numbers = ", ".join(str(place_of(mark)) for mark, row in pairs if row["chain_id"] in untrusted)
    means = [
        f"{row['metric']} is the mean over {', '.join(targets)}; to rank by one, name it as the target (--target)"
        for row, own in zip(found.rows, found.told, strict=True)
        if len(targets := texts_of(own.get("targets"))) > 1 and not row.get("of_target")
    ]
    return [
        *([f"row {numbers}: {NOT_TRUSTED}"] if numbers else []),
        *dict.fromkeys(means),
        *(note for row in found.bests for note in _of_guesses(row)),
    ]


def _of_guesses(best: Mapping[str, Any]) -> list[str]:
    """Return the sentence that says that the best of a ranking is no better than who does not look at X; else none."""
    if best["fold_id"] != AVERAGE or best.get("score") not in (None, best["val_score"]):
        return []  # Others may be better than the first, by what they were judged by.
    scores = dict_of(dict_of(best["scores"]).get(best["partition"]))
    rmse, rpd, mcc = (scores.get(name) for name in ("rmse", "rpd", "mcc"))
    where = f"no model of {best['dataset_name']} is better than"
    if rmse is not None and rpd is not None and rpd <= 1:
        return [
            f"{where} the mean of y: RMSECV is {text_of(rmse)}, and the standard deviation of y {text_of(rpd * rmse)}"
        ]
    return [f"{where} a guess: MCC is {text_of(mcc)}"] if mcc is not None and mcc <= 0 else []
