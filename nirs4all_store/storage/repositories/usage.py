"""The repository of what takes how much room: the rows and the fitted objects of each run, or of each dataset."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import polars as pl
from sqlalchemy import CTE, BigInteger, Select, String, Table, case, cast, func, select, union_all

from ...engine import Pieces
from ...errors import InvalidInputError
from ...validation import checked_text
from ..columns import table_of
from ..models import Artifact, Chain, Dataset, Pipeline, Prediction, Run
from ..table_gateway import Repository

RUNS, PIPELINES, CHAINS = table_of(Run), table_of(Pipeline), table_of(Chain)
PREDICTIONS, DATASETS, ARTIFACTS = table_of(Prediction), table_of(Dataset), table_of(Artifact)
OWNERS = {"run": PIPELINES.c.run_id, "dataset": PIPELINES.c.dataset_name}
OWNERS_TOLD = {
    "run": select(RUNS.c.run_id, RUNS.c.name, RUNS.c.created_at).cte("owners"),
    "dataset": select(PIPELINES.c.dataset_name).distinct().cte("owners"),
}
NO_OBJECT = '"artifact_id":null'


class Usage(Repository):
    """Tells what takes how much room, inside one unit of work that only reads."""

    def of_all(self, by: str) -> pl.DataFrame:
        """Return what each run or dataset takes; see `WorkspaceStore.usage`."""
        if checked_text(by, "by") not in OWNERS:
            raise InvalidInputError(f"by is {by!r}; give one of {', '.join(OWNERS)}")
        found = self._tables.frame(_usage_of(by), {})
        return found.sort("own_bytes", "predictions", found.columns[0], descending=[True, True, False])


@lru_cache
def _usage_of(by: str) -> Select[Any]:
    owner, told = OWNERS[by], OWNERS_TOLD[by]
    key, *_ = told.c
    parts = [*(_rows(owner, table) for table in (PIPELINES, CHAINS, PREDICTIONS)), _objects(owner)]
    joined: Any = told
    for part in parts:
        joined = joined.outerjoin(part, part.c.owner == key)
    numbers = [value for part in parts for value in part.c if value.name != "owner"]
    return select(told, *(func.coalesce(value, 0).label(value.name) for value in numbers)).select_from(joined)


def _rows(owner: Any, table: Table) -> CTE:
    """Return the SELECT of how many rows of a table each owner has: first by pipeline, of which there are fewer."""
    rows = select(table.c.pipeline_id, func.count().label("n")).group_by(table.c.pipeline_id).subquery("by_pipeline")
    joined = PIPELINES.join(rows, rows.c.pipeline_id == PIPELINES.c.pipeline_id)
    total = cast(func.sum(rows.c.n), BigInteger).label(table.name)
    return select(owner.label("owner"), total).select_from(joined).group_by(owner).cte(f"{table.name}_of_each")


def _objects(owner: Any) -> CTE:
    """Return the SELECT of how many files of fitted objects each owner uses, and of how many bytes."""
    named = _named(owner)
    files = (
        select(named.c.owner, ARTIFACTS.c.artifact_path, ARTIFACTS.c.size_bytes)
        .join(ARTIFACTS, ARTIFACTS.c.artifact_id == named.c.artifact_id)
        .cte("files")
    )
    first, last = func.min(files.c.owner), func.max(files.c.owner)
    users = (
        select(files.c.artifact_path, func.max(files.c.size_bytes).label("size"), first.label("owner"))
        .add_columns((first == last).label("is_own"))
        .group_by(files.c.artifact_path)
        .cte("users")
    )
    shared = select(files.c.owner, users.c.artifact_path, users.c.size, users.c.is_own).join(
        users, users.c.artifact_path == files.c.artifact_path
    )
    own = select(users.c.owner, users.c.artifact_path, users.c.size, users.c.is_own).where(users.c.is_own)
    # Few are shared, and only of these it has to be found out by whom.
    used = own.union_all(shared.where(~users.c.is_own).distinct()).cte("used")
    sizes = (
        cast(func.sum(used.c.size).filter(condition), BigInteger).label(name)
        for name, condition in {"own_bytes": used.c.is_own, "shared_bytes": ~used.c.is_own}.items()
    )
    return select(used.c.owner, func.count().label("artifacts"), *sizes).group_by(used.c.owner).cte("objects")


def _named(owner: Any) -> CTE:
    """Return the SELECT of which artifacts each owner names, and of other texts that chains have.

    All texts of a chain's JSON are taken, since ids are among them and nothing else is an id. To decode it would take
    many times as long. (An id with a quote or a backslash would not be found; none that is made here has one.)
    """
    steps = cast(CHAINS.c.steps, String)
    # Most steps say only that they have no object.
    says_more = func.replace(func.replace(steps, " ", ""), NO_OBJECT, "").contains("artifact_id")
    columns = (cast(CHAINS.c[name], String) for name in ("fold_artifacts", "shared_artifacts", "attachments"))
    text = func.concat_ws(" ", *columns, case((says_more, steps)))
    pieces = (
        select(owner.label("owner"), Pieces(text, '"').label("artifact_id"))
        .join(CHAINS, CHAINS.c.pipeline_id == PIPELINES.c.pipeline_id)
        .subquery("pieces")
    )
    shortest = select(func.min(func.length(ARTIFACTS.c.artifact_id))).scalar_subquery()
    of_chains = select(pieces).where(func.length(pieces.c.artifact_id) >= shortest)
    of_datasets = [
        select(owner.label("owner"), column).join(DATASETS, DATASETS.c.dataset_id == PIPELINES.c.dataset_id).distinct()
        for column in (DATASETS.c.samples_artifact, DATASETS.c.spectra_artifact)
    ]
    return union_all(of_chains, *of_datasets).cte("named")
