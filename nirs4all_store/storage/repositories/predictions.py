"""The repository of predictions: their scores, arrays and ranking.

Why there may be one weight for each fold: docs/decisions/0004.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Select, func, select

from ...datasets import AVERAGE, PARTITIONS
from ...errors import InvalidInputError, InvalidTypeError, NotFoundError
from ...identifiers import new_id, utc_now
from ...metrics import BEST_VALUE, FIELD_NAMES, NAMES
from ...validation import checked_fold, checked_int, checked_page, checked_text, checked_texts, shown
from ..array_columns import ARRAY_NAMES, Given, checked_arrays, checked_classes, decode_all, encode_all, sample_counts
from ..columns import refuse_other_columns, table_of
from ..models import Chain, Pipeline, Prediction, PredictionArrays
from ..records import PredictionRecord, as_records
from ..table_gateway import Repository
from . import leaderboard, ranking
from .leaderboard import Wanted
from .prediction_filters import bound, conditions

PREDICTIONS, ARRAYS = table_of(Prediction), table_of(PredictionArrays)
PIPELINES, CHAINS = table_of(Pipeline), table_of(Chain)
METRICS = (*ranking.SCORES, *NAMES["regression"], *NAMES["classification"], *FIELD_NAMES)
MAX_ROWS = 2**63 - 1
NO_ROWS = select(PREDICTIONS).limit(0)
Row = dict[str, Any]
ARRAY_ARGUMENTS = (*ARRAY_NAMES, "classes")
GIVEN_NAMES = {*PredictionRecord.__dataclass_fields__, *ARRAY_ARGUMENTS} - {"pipeline_id"}


class PredictionRepo(Repository):
    """Reads and writes predictions and their arrays inside one unit of work."""

    def add(self, record: PredictionRecord) -> str:
        """Add a prediction; return its id, which is a new one if the record has none.

        Raises
        ------
        NotFoundError
            The pipeline or the chain does not exist.
        DuplicateError
            There is a prediction with this id.
        InvalidInputError
            A value cannot be stored.
        """
        row = record.row()
        row["pipeline_id"] = self._tables.require(Pipeline, record.pipeline_id)
        row["created_at"] = utc_now()
        if record.chain_id is not None:
            row["chain_id"] = self._tables.require(Chain, record.chain_id)
        if record.fold_id is not None:
            row["fold_id"] = checked_fold(record.fold_id, "predictions.fold_id")
        if record.prediction_id is None:
            row["prediction_id"] = new_id()
            self._tables.add_new(Prediction, row)
            self._tables.lookups.put((ARRAYS.name, row["prediction_id"]), False)
        else:
            self._tables.add(Prediction, row)
        return str(row["prediction_id"])

    def add_many(self, pipeline_id: str, records: Any) -> list[str]:
        """Add predictions with their arrays; return their ids in the same order.

        Parameters
        ----------
        pipeline_id : str
        records : iterable of dicts, or polars.DataFrame
            See `WorkspaceStore.save_predictions`.

        Raises
        ------
        StoreError
            The errors of `add` and `add_arrays`; the message begins with the number of the record, counted from 0.
        """
        pipeline_id = self._tables.require(Pipeline, pipeline_id)
        return [self._add_one(pipeline_id, number, given) for number, given in enumerate(as_records(records))]

    def _add_one(self, pipeline_id: str, number: int, given: Mapping[str, Any]) -> str:
        if not isinstance(given, Mapping) or not given.keys() <= GIVEN_NAMES:
            unknown = sorted(map(str, given.keys() - GIVEN_NAMES)) if isinstance(given, Mapping) else given
            raise InvalidInputError(
                f"record {number} has {shown(unknown)}, which is none of {sorted(GIVEN_NAMES)}; leave it out"
            )
        values = {name: value for name, value in given.items() if name not in ARRAY_ARGUMENTS}
        arrays = {name: given.get(name) for name in ARRAY_ARGUMENTS}
        try:
            record = PredictionRecord.of({"preprocessings": "", **values, "pipeline_id": pipeline_id})
            prediction_id = self.add(record)
            if any(array is not None for array in arrays.values()):
                self.add_arrays(prediction_id, **arrays)
        except (InvalidInputError, NotFoundError) as error:
            raise type(error)(f"record {number}: {error}") from error
        return prediction_id

    def add_arrays(
        self,
        prediction_id: str,
        y_true: Any,
        y_pred: Any,
        y_proba: Any = None,
        sample_indices: Any = None,
        weights: Any = None,
        classes: Any = None,
    ) -> None:
        """Set the arrays of a prediction; they replace those that it has.

        Parameters
        ----------
        prediction_id : str
        y_true, y_pred : array_like of shape (n_samples,) or (n_samples, n_targets), or None
        y_proba : array_like of shape (n_samples, n_classes), or of three dimensions, or a list of arrays, optional
            For several targets, one array of shape (n_samples, n_classes) for each.
        sample_indices : array_like of shape (n_samples,), optional
        weights : array_like, optional
            One for each sample or, as nirs4all stores them, one for each fold of the prediction's chain.
        classes : list, or list of lists for several targets, optional
            What the columns of `y_proba` are called.

        Raises
        ------
        NotFoundError
            The prediction does not exist.
        InvalidInputError
            The arrays differ in length, or `array_columns.checked_arrays` does not accept one.
        """
        prediction_id = self._tables.require(Prediction, prediction_id)
        given = {
            "y_true": y_true,
            "y_pred": y_pred,
            "y_proba": y_proba,
            "sample_indices": sample_indices,
            "weights": weights,
        }
        arrays = {name: checked_arrays(value, name) for name, value in given.items()}
        self._check_lengths(prediction_id, arrays)
        row = encode_all(arrays, checked_classes(classes, arrays["y_proba"])) | {"prediction_id": prediction_id}
        is_waiting = self._tables.is_pending(PredictionArrays, prediction_id)
        if not is_waiting and self._tables.exists(PredictionArrays, prediction_id):
            self._tables.delete(PredictionArrays, ARRAYS.c.prediction_id, [prediction_id])
        self._tables.add_encoded(PredictionArrays, prediction_id, row)

    def _check_lengths(self, prediction_id: str, arrays: dict[str, Given]) -> None:
        lengths = sample_counts(arrays)
        weights = lengths.pop("weights", None)
        samples = set(lengths.values())
        if len(samples) > 1:
            raise InvalidInputError(f"the arrays of {prediction_id!r} differ in length: {lengths}; make them equal")
        if weights is not None and samples and weights not in samples and weights != self._folds_of(prediction_id):
            raise InvalidInputError(
                f"weights of {prediction_id!r} has {weights} values for {samples.pop()} samples; "
                "give one per sample, or one per fold of its chain"
            )

    def _folds_of(self, prediction_id: str) -> int | None:
        columns = CHAINS.c.fold_artifacts, CHAINS.c.predict_fold
        query = select(*columns).join(PREDICTIONS, PREDICTIONS.c.chain_id == CHAINS.c.chain_id)
        rows = self._tables.rows(query.where(PREDICTIONS.c.prediction_id == prediction_id))
        # A final model is no fold, and has no weight among them.
        folds = [fold for row in rows for fold in row["fold_artifacts"] or {} if fold != row["predict_fold"]]
        return len(folds) if rows else None

    def get(self, prediction_id: str, load_arrays: bool = False) -> dict[str, Any] | None:
        """Return a prediction as a dict, or None if there is none with this id.

        With `load_arrays`, the dict also has its arrays and `classes`, with None for each that it does not have.
        """
        row = self._tables.row(Prediction, prediction_id)
        if row is None or not load_arrays:
            return row
        columns = self._tables.row_with_arrays(PredictionArrays, prediction_id)
        empty: dict[str, Any] = dict.fromkeys(ARRAY_ARGUMENTS)
        return row | (empty if columns is None else decode_all(columns))

    def of_chain(self, chain_id: str) -> list[dict[str, Any]]:
        """Return the predictions that name a chain as a list of dicts, oldest first."""
        query = select(PREDICTIONS).where(PREDICTIONS.c.chain_id == checked_text(chain_id, "chain_id"))
        return self._tables.rows(query.order_by(PREDICTIONS.c.created_at, PREDICTIONS.c.prediction_id))

    def with_arrays(
        self, chain_id: str, partition: str | None = None, fold_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the predictions of a chain with their arrays, oldest first; of one partition, one fold, or of all."""
        wanted = {"chain_id": checked_text(chain_id, "chain_id"), "partition": partition, "fold_id": fold_id}
        self.refuse_other_columns()
        rows = self._tables.rows(self._selection(wanted))
        arrays = self.arrays_of([row["prediction_id"] for row in rows])
        empty: Row = dict.fromkeys(ARRAY_ARGUMENTS)
        return [row | arrays.get(row["prediction_id"], empty) for row in rows]

    def held_out_scores(self, chain_ids: Sequence[str]) -> pl.DataFrame:
        """Return the score of what each fold of some chains held out: `chain_id`, `fold_id`, `val_score`."""
        query = select(PREDICTIONS.c.chain_id, PREDICTIONS.c.fold_id, PREDICTIONS.c.val_score)
        query = query.where(PREDICTIONS.c.partition == PARTITIONS[0], PREDICTIONS.c.chain_id.in_(chain_ids))
        return self._tables.frame(query.order_by(PREDICTIONS.c.created_at, PREDICTIONS.c.prediction_id))

    def refuse_other_columns(self) -> None:
        """Refuse to calculate with predictions in a damaged workspace; see `columns.refuse_other_columns`."""
        refuse_other_columns(PREDICTIONS, self._tables.frame(NO_ROWS, {}))

    def query(self, limit: int | None = None, offset: int = 0, **filters: Any) -> pl.DataFrame:
        """Return the predictions that match all filters, oldest first; see `WorkspaceStore.query_predictions`."""
        query = self._selection(filters)
        limit, offset = checked_page(limit, offset)
        if limit is not None:
            query = query.where(PREDICTIONS.c.created_at <= _time_of(query, min(limit + offset, MAX_ROWS)))
        return self._tables.frame(query.limit(limit).offset(offset))

    def write_parquet(self, path: Path, limit: int | None = None, offset: int = 0, **filters: Any) -> None:
        """Write what `query` returns for the same filters to a Parquet file, with only a part in memory at a time."""
        limit, offset = checked_page(limit, offset)
        self._tables.write_parquet(self._selection(filters), PREDICTIONS.c.created_at, path, limit, offset)

    def _selection(self, filters: Row) -> Select[Any]:
        """Return the SELECT of the predictions that match all filters, oldest first."""
        shape, values = bound(filters)
        query = select(PREDICTIONS).order_by(PREDICTIONS.c.created_at, PREDICTIONS.c.prediction_id)
        return query.where(*conditions(shape)).params(values)

    def top(
        self,
        n: int,
        metric: str = "val_score",
        ascending: bool | None = None,
        partition: str | None = "val",
        dataset_name: str | None = None,
        group_by: str | None = None,
        score_metric: str | None = None,
        task_type: str | None = None,
        run_id: str | None = None,
        fold_id: str | Sequence[str] | None = None,
        target: str | None = None,
        once: bool = False,
    ) -> pl.DataFrame:
        """Return the best predictions, best first; see `WorkspaceStore.top_predictions`."""
        if metric not in METRICS:
            raise InvalidInputError(f"metric {shown(metric)} is no score; use one of {', '.join(METRICS)}")
        metric, partition = FIELD_NAMES.get(metric, (metric, partition))
        if group_by is not None and checked_text(group_by, "group_by") not in PREDICTIONS.c:
            raise InvalidInputError(
                f"group_by {group_by!r} is no column of predictions; use one of {', '.join(PREDICTIONS.c.keys())}"
            )
        if not isinstance(ascending, bool | np.bool_ | None):
            raise InvalidTypeError(f"ascending must be True, False or None, not {shown(ascending)}")
        n = checked_int(n, "n", 32)
        if n < 0:
            raise InvalidInputError(f"n must not be negative, but is {n}")
        is_one = fold_id is None or isinstance(fold_id, str | int | np.integer)
        folds = () if is_one else tuple(checked_texts(fold_id, "fold_id"))
        given = {
            "partition": partition,
            "dataset_name": dataset_name,
            "metric": score_metric,
            "task_type": task_type,
            "run_id": run_id,
            "fold_id": checked_fold(fold_id, "fold_id") if is_one and fold_id is not None else None,
        }
        values = {name: checked_text(value, name) for name, value in given.items() if value is not None}
        target = None if target is None else checked_text(target, "target")
        wanted = Wanted(n, metric, None if ascending is None else bool(ascending), group_by, target, folds, once)
        self.refuse_other_columns()
        ranked = ranking.Ranked(metric if metric in ranking.SCORES else None, tuple(values))
        if wanted == Wanted(n, metric, wanted.ascending, group_by) and ranked.score is not None:
            found = self._top_of_one_league(ranked, wanted, values)
            if found is not None:
                return found
        return leaderboard.ranked(self._tables.frame(ranking.candidates(ranked), values), wanted, self.parts_of)

    def _top_of_one_league(self, ranked: ranking.Ranked, wanted: Wanted, values: Row) -> pl.DataFrame | None:
        """Return the best rows, which the database finds by itself; None if not all were judged in the same way."""
        leagues, *first_and_last = self._tables.frame(ranking.kinds(ranked), values).row(0)
        if leagues > 1:
            return None
        ascending = wanted.ascending
        if ascending is None:
            metric, task, last_metric, last_task = first_and_last
            if (metric, task) != (last_metric, last_task) or metric in BEST_VALUE:
                return None
            ascending = ranking.direction([] if metric is None else [metric])
        found = self._tables.frame(ranking.best(ranked, ascending, wanted.group_by), values | {"n": wanted.n})
        rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
        rank = rank if wanted.group_by is None else rank.over(wanted.group_by)
        return found.with_columns(score=pl.col(wanted.metric), rank=rank)

    def arrays_of(self, prediction_ids: Sequence[str]) -> dict[str, Row]:
        """Return the arrays of predictions by id; those without arrays are left out."""
        rows = self._tables.rows_with_arrays(select(ARRAYS).where(ARRAYS.c.prediction_id.in_(prediction_ids)))
        return {row["prediction_id"]: decode_all(row) for row in rows}

    def parts_of(self, rows: pl.DataFrame) -> dict[str, list[Row]]:
        """Return the arrays of predictions by id: one part, or of all folds together one for each repeat."""
        found = {name: [arrays] for name, arrays in self.arrays_of(rows["prediction_id"].to_list()).items()}
        together = rows.filter(fold_id=AVERAGE, partition=PARTITIONS[0]).drop_nulls(["chain_id", "n_samples"])
        together = together.filter(pl.col("prediction_id").is_in([*found]))
        query = select(PREDICTIONS).where(
            PREDICTIONS.c.chain_id.in_(together["chain_id"].to_list()), PREDICTIONS.c.partition == PARTITIONS[0]
        )
        folds = self._tables.frame(query).with_columns(number=pl.col("fold_id").cast(pl.Int64, strict=False))
        folds = folds.drop_nulls("number").sort("number")
        arrays = self.arrays_of(folds["prediction_id"].to_list())
        for name, chain_id, count in together.select("prediction_id", "chain_id", "n_samples").iter_rows():
            own = folds.filter(chain_id=chain_id)
            parts = [arrays[key] for key in own["prediction_id"].to_list() if key in arrays]
            if len(parts) < max(own.height, 2) or any(part["sample_indices"] is None for part in parts):
                continue
            is_again = own["n_samples"].sum() > count  # Some samples were held out several times.
            if is_again or not leaderboard.is_held_out(found[name][0], parts):
                found[name] = leaderboard.by_repeat(parts)
        return found

    def delete(self, prediction_id: str) -> bool:
        """Delete a prediction and its arrays; return whether it was there."""
        return self.delete_many(PREDICTIONS.c.prediction_id, [checked_text(prediction_id, "prediction_id")]) > 0

    def delete_of_pipelines(self, pipeline_ids: Iterable[str]) -> int:
        """Delete the predictions of pipelines with their arrays; return how many rows there were."""
        return self.delete_many(PREDICTIONS.c.pipeline_id, checked_texts(pipeline_ids, "pipeline ids"))

    def delete_arrays(self, prediction_ids: Sequence[str]) -> int:
        """Delete the arrays of predictions, which stay; return how many had some."""
        return self._tables.delete(PredictionArrays, ARRAYS.c.prediction_id, prediction_ids)

    def detach(self, chain_ids: Iterable[str]) -> None:
        """Set `chain_id` to NULL in the predictions that name one of these chains, so that they can stay without it."""
        ids = checked_texts(chain_ids, "chain ids")
        if ids:
            self._tables.execute(PREDICTIONS.update().where(PREDICTIONS.c.chain_id.in_(ids)).values(chain_id=None))

    def delete_many(self, column: Any, keys: list[str]) -> int:
        """Delete the predictions whose `column` is in `keys`, with their arrays; return how many rows there were."""
        ids = select(PREDICTIONS.c.prediction_id).where(column.in_(keys))
        arrays = self._tables.delete(PredictionArrays, ARRAYS.c.prediction_id, ids)
        return arrays + self._tables.delete(Prediction, column, keys)


def _time_of(query: Select[Any], place: int) -> Any:
    """Return the time of the row at a place, counted from the oldest.

    With it, only times have to be sorted, which takes a fraction of the time for whole rows.
    """
    times = query.with_only_columns(PREDICTIONS.c.created_at).order_by(None).order_by(PREDICTIONS.c.created_at)
    first = times.limit(place).subquery()
    return select(func.max(first.c.created_at)).scalar_subquery()
