"""Finds the one thing that people mean: by a word (`best`, `last`, `@3`), a name, or a part of its id. No printing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import polars as pl

from ..errors import InvalidInputError
from ..store import WorkspaceStore
from ..validation import did_you_mean
from .listings import text_of, with_zone
from .rankings import rank

MOST_CANDIDATES = 5
LEAST_OF_AN_ID = 4
"""How many characters of an id are enough: a typing error of one or two has the id of some prediction for its end."""
LAST, BEST, ROW = "last", "best", "@"
LISTED_BY = {
    "runs": "`runs` shows the names and ids of runs",
    "datasets": "`datasets` shows the names and ids of datasets",
    "pipelines": "`pipelines` shows the ids of pipelines",
    "chains": "`top` shows the ids of chains; best is the first of them",
    "predictions": "`show best` shows the ids of predictions",
    "artifacts": "`sql 'SELECT artifact_id FROM artifacts'` shows the ids of artifacts",
}
"""The kinds of things that have ids, and how to see those."""
NOTHING = pl.DataFrame(schema=dict.fromkeys(("kind", "id", "name"), pl.String) | {"created_at": pl.Datetime("us")})
"""What `WorkspaceStore.find` returns where it finds nothing."""
Ranked = Sequence[tuple[int, str]]
"""The rows of a ranking as people saw it: the number and the id of the chain."""


def find_id(
    store: WorkspaceStore, text: str, kinds: Sequence[str] = (), ranked: Callable[[], Ranked] = tuple
) -> tuple[str, str]:
    """Return the table and the whole id of the one thing that people mean.

    Parameters
    ----------
    store : WorkspaceStore
    text : str
        `last` (run); `best`, `best@RUN`, or `@3` (the chain of row 3 of the last ranking); the name of a run; the
        beginning or the ending of an id. `KIND:` may stand before it, as in `chain:9f2e4c1a`. A part of an id is
        never taken for that of an artifact, unless `artifact:` stands before it.
    kinds : sequence of str
        The tables in which it may be; by default all. A chain stands for its pipeline where only pipelines may be.
    ranked : callable
        Returns the last ranking.

    Raises
    ------
    InvalidInputError
        There is no such thing, or there are several; the message names the candidates.
    """
    return _as_wanted(store, _meant(store, text, kinds, ranked), text, kinds)


def _meant(store: WorkspaceStore, text: str, kinds: Sequence[str], ranked: Callable[[], Ranked]) -> pl.DataFrame:
    """Return all that a text may mean."""
    kind, separator, rest = text.partition(":")
    if separator and f"{kind}s" in LISTED_BY and f"{kind}s" in (kinds or LISTED_BY):
        found: pl.DataFrame | None = _by_name_or_id(store, rest, (f"{kind}s",)).filter(kind=f"{kind}s")
    else:
        found = _of_word(store, text, ranked)
    if found is None:
        return _by_name_or_id(store, text, kinds)
    # A run may be called as a word is. Nobody knows then which of them is meant, and it may be deleted.
    called = store.find(text).filter(pl.col("name") == text, kind="runs")
    return pl.concat([found, called]).unique(["kind", "id"], maintain_order=True)


def _of_word(store: WorkspaceStore, text: str, ranked: Callable[[], Ranked]) -> pl.DataFrame | None:
    """Return what a word stands for; None if the text is no such word."""
    word, _, run = text.partition("@")
    if text == LAST:
        return _described(store, store.list_runs(limit=1)["run_id"])
    if word == BEST and (run or text == BEST):
        run_id = find_id(store, run, ("runs",))[1] if run else None
        return _described(store, _best(store, run_id)["chain_id"])
    if not word and run.isdecimal():
        rows = ranked()
        chains = [chain for number, chain in rows if number == int(run)]
        if not chains and rows:
            last = max(number for number, _ in rows)
            raise InvalidInputError(f"{text} is no row of the ranking that was last shown here, which had {last:,}")
        if not chains:
            raise InvalidInputError(
                f"{text} is row {run} of the ranking that was last shown in this shell for this workspace, and there "
                "is none; see `nirs4all-store top` first"
            )
        return _described(store, chains)
    return None


def _best(store: WorkspaceStore, run_id: str | None) -> pl.DataFrame:
    try:
        return rank(store, 1, run_id=run_id)
    except InvalidInputError as error:
        problem = str(error).partition(";")[0]
        raise InvalidInputError(f"{problem}; name the run, as in best@last") from error


def _described(store: WorkspaceStore, ids: Iterable[str]) -> pl.DataFrame:
    return pl.concat([NOTHING, *(store.find(name) for name in dict.fromkeys(ids))])


def _by_name_or_id(store: WorkspaceStore, text: str, kinds: Sequence[str]) -> pl.DataFrame:
    """Return what has this id, else what people have called so, else those with such a part of an id."""
    found = store.find(text) if text else NOTHING
    if text in found["id"]:
        return found
    # A dataset and the run on it are often called the same.
    called = ("datasets",) if tuple(kinds) == ("datasets",) else ("runs",)
    is_part = pl.col("id").str.starts_with(text) | pl.col("id").str.ends_with(text)
    named = found.filter(pl.col("kind").is_in(called) & (pl.col("name") == text))
    if named.height and (not kinds or {*called} & {*kinds}):
        return named
    if 0 < len(text) < LEAST_OF_AN_ID:
        meant = f"did you mean {ROW}{text}?" if text.isdecimal() else f"give {LEAST_OF_AN_ID} characters or more of it"
        raise InvalidInputError(f"{text!r} is no name here, and too short for a part of an id; {meant}")
    return found.filter(is_part, pl.lit("artifacts" in kinds) | (pl.col("kind") != "artifacts"))


def _as_wanted(store: WorkspaceStore, found: pl.DataFrame, text: str, kinds: Sequence[str]) -> tuple[str, str]:
    """Return the one row of the kinds that are wanted, or raise an error that says what there is instead."""
    fitting = found.filter(pl.col("kind").is_in(kinds)) if kinds else found
    if fitting.height == 1:
        return str(fitting["kind"][0]), str(fitting["id"][0])
    if fitting.height:
        word, _, row = text.partition(ROW)
        apart = "`top` ranks them apart, since other data or folds have judged them; name the run, as in best@last"
        again = "a row of each ranking that was shown has this number; give its id"
        advice = apart if word == BEST else again if row and not word else "give more of the id"
        raise InvalidInputError(f"{text!r} may be one of {fitting.height:,}: {_candidates(store, fitting)}; {advice}")
    wanted = " or ".join(kind[:-1] for kind in kinds) or "run, dataset, pipeline, chain or prediction"
    advice = LISTED_BY[kinds[0] if kinds else "chains"]
    if not found.height and "datasets" not in kinds and store.list_runs(limit=1).is_empty():
        raise InvalidInputError(f"{text!r} is nothing here: the workspace has no run; `run CONFIG DATA` trains models")
    if not found.height:
        named = "name or id" if not kinds or "runs" in kinds or tuple(kinds) == ("datasets",) else "id"
        near = did_you_mean(text, [LAST, BEST, *store.list_runs()["name"], *store.list_datasets()["name"]])
        raise InvalidInputError(
            f"no {wanted} has the {named} {text!r}, or an id that begins or ends so{near or f'; {advice}'}"
        )
    chain = found.filter(kind="chains")
    if chain.height == found.height == 1 and "pipelines" in kinds:
        pipeline_id = str((store.get_chain(chain["id"][0]) or {})["pipeline_id"])
        if len(kinds) == 1:
            return "pipelines", pipeline_id
        short = store.shorten_ids([pipeline_id])[pipeline_id]
        advice = f"it goes with its pipeline {short}: give that"
    raise InvalidInputError(f"{text!r} is {_candidates(store, found)}, where a {wanted} is wanted; {advice}")


def described(store: WorkspaceStore, kind: str, name: str) -> str:
    """Return what the thing with an id is: its kind, the shortened id, its name and its date."""
    return _candidates(store, store.find(name).filter(kind=kind))


def _candidates(store: WorkspaceStore, found: pl.DataFrame) -> str:
    """Return what some things are: the kind, the id, the name and the date of each; runs first, predictions last."""
    places = pl.col("kind").replace_strict([*LISTED_BY], range(len(LISTED_BY)))
    rows = [with_zone(row) for row in found.sort(places, maintain_order=True).head(MOST_CANDIDATES).to_dicts()]
    short = store.shorten_ids([row["id"] for row in rows])
    told = [
        f"{row['kind'][:-1]} {short[row['id']]} ({text_of(row['name'])}, {text_of(row['created_at'])})" for row in rows
    ]
    more = found.height - len(rows)
    return ", ".join(told) + (f" and {more:,} more" if more else "")
