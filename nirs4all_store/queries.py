"""`Queries`: what can be asked of all that a workspace has. `WorkspaceStore` is one; nothing here changes a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from .call_boundary import all_public
from .storage import Call, ChainPage, WantedChains
from .validation import checked_texts


@all_public
class Queries:
    """The questions of a leaderboard, a page or a notebook.

    `**filters` are those of `query_predictions`, each of one value or a list of values: `dataset_name`, `dataset_id`,
    `run_id`, `pipeline_id`, `chain_id`, `model_name`, `model_class` (with `%` and `_`), `preprocessings`, `branch_id`,
    `task_type`, `metric` (by which a chain was judged); for predictions also `partition`, `fold_id` and
    `refit_context`.
    """

    def _reading(self) -> Call:
        raise NotImplementedError

    def rank_chains(
        self,
        rank_by: str | None = None,
        *,
        partition: str = "val",
        target: str | None = None,
        ascending: bool | None = None,
        search: str = "",
        copies: bool = False,
        limit: int | None = 50,
        after: str | None = None,
        **filters: Any,
    ) -> ChainPage:
        """Return chains, best first: one row for each configuration that was trained on the same data.

        What was judged by other data, folds, tasks or metrics is ranked apart: such rows follow one another, those with
        the newest chain first, and `rank` begins anew. Chains without a stored score come last, those that predict NaN
        of some samples, too: `top_predictions` computes scores from arrays.

        Parameters
        ----------
        rank_by : str, optional
            A metric, as for `top_predictions`; `rmsec`, `rmsecv`, `rmsep` say the partition, too. By default the metric
            by which each chain was judged.
        partition : str
            `val`: what the folds held out. `test`, `train`: of the final model, or else of the folds together.
        target : str, optional
            By whose scores; chains that do not predict it are left out.
        ascending : bool, optional
            True: lower is better. By default the metric decides.
        search : str
            Words that all occur in the names of model, dataset and run, in the preprocessing or the parameters.
        copies : bool
            Also return the chains of a configuration that are no better than another one of it.
        limit : int, optional
            How many rows a page has; None: all.
        after : str, optional
            `next` of the page before.

        Returns
        -------
        ChainPage
            `total` is the number of rows of all pages. The columns of `rows`: `rank`, `chain_id`, `score` and `metric`
            (what was ranked by); `rmsecv`, `rmsecv_sd` (over repeats), `rmsecv_se` (its standard error from the spread
            over folds, of one repeat), `fold_mean`, `fold_sd` and `n_folds` (of the folds' own scores), `rmsep` and
            `rmsec` (of the model that predicts), `r2`, `rpd`, `bias`, `accuracy` and `mcc` of what the folds held out;
            `val_score`, `test_score`, `train_score` as the chain was judged; `has_final`; `model_name`, `model_class`,
            `preprocessings`, `best_params` (JSON), `task_type`, `n_samples`, `n_features`, `dataset_name`,
            `dataset_id`, `judged_by` (JSON), `run_id`, `run_name`, `pipeline_id`, `created_at`, `copies` (how many
            chains are of this configuration), and `target`.

        Raises
        ------
        InvalidInputError
            The metric, the partition, the page or a filter is unknown, nobody knows whether a lower value of a metric
            is better, or a mean over several targets would have no unit.
        """
        wanted = WantedChains(filters, search, rank_by, partition, target, ascending)
        with self._reading() as uow:
            return uow.summaries.rank_chains(wanted, limit, after, copies=copies)

    def count_predictions(self, **filters: Any) -> int:
        """Return how many predictions match every filter."""
        with self._reading() as uow:
            return uow.summaries.count_predictions(filters)

    def distinct(self, column: str, **filters: Any) -> list[Any]:
        """Return the values of a column among the predictions that match every filter, sorted and without NULL.

        `column` is the name of a filter.
        """
        with self._reading() as uow:
            return uow.summaries.distinct(column, filters)

    def facets(
        self,
        columns: Iterable[str] = ("dataset_name", "model_name", "preprocessings", "run_id"),
        *,
        rank_by: str | None = None,
        search: str = "",
        **filters: Any,
    ) -> pl.DataFrame:
        """Return how many chains have each value of some columns, and how they score.

        Returns
        -------
        polars.DataFrame
            `column`, `value` (text), `chains`, and `best` and `median`, their scores; these are NULL where the chains
            of a value are not ranked together, and `best` where the metric is best at a value, as a bias is at 0.
        """
        wanted = WantedChains(filters, search, rank_by)
        with self._reading() as uow:
            return uow.summaries.facets(checked_texts(columns, "columns"), wanted)

    def score_histogram(
        self, rank_by: str | None = None, *, bins: int = 20, partition: str = "val", search: str = "", **filters: Any
    ) -> pl.DataFrame:
        """Return how many chains have a score in each of some classes of equal width.

        Returns
        -------
        polars.DataFrame
            `lower`, `upper` and `chains`, the lowest first; classes without a chain are left out.
        """
        wanted = WantedChains(filters, search, rank_by, partition)
        with self._reading() as uow:
            return uow.summaries.score_histogram(wanted, bins)

    def parameter_profile(
        self, name: str, *, rank_by: str | None = None, search: str = "", **filters: Any
    ) -> pl.DataFrame:
        """Return how chains score with each value of a parameter of their model, such as `n_components`.

        Returns
        -------
        polars.DataFrame
            `value` (text), `chains`, `best` and `median`, by value; see `facets`.
        """
        wanted = WantedChains(filters, search, rank_by)
        with self._reading() as uow:
            return uow.summaries.parameter_profile(name, wanted)
