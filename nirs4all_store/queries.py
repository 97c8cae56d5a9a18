"""`Queries`: what can be asked of all that a workspace has. `WorkspaceStore` is one; nothing here changes a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from .call_boundary import all_public
from .chains import artifact_ids
from .datasets import AVERAGE
from .errors import InvalidInputError, NotFoundError
from .storage import Call, ChainPage, RunProgress, UnitOfWork, WantedChains
from .validation import checked_int, checked_text, checked_texts
from .workspace import Workspace

if TYPE_CHECKING:
    from .chains import ChainComparison

Row = dict[str, Any]


@all_public
class Queries:
    """The questions of a leaderboard, a page or a notebook.

    `**filters` are those of `query_predictions`, each of one value or a list of values: `dataset_name`, `dataset_id`,
    `run_id`, `pipeline_id`, `chain_id`, `model_name`, `model_class` (with `%` and `_`), `preprocessings`, `branch_id`,
    `task_type`, `metric` (by which a chain was judged); for predictions also `partition`, `fold_id` and
    `refit_context`.
    """

    @property
    def _workspace(self) -> Workspace:
        raise NotImplementedError

    def _reading(self) -> Call:
        raise NotImplementedError

    def load_artifact(self, artifact_id: str) -> Any:
        """Return a fitted object; see `WorkspaceStore.load_artifact`."""
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
        the newest chain first, and `rank` begins anew. Scores that are not stored are computed from arrays, as in
        `top_predictions`, which takes longer. Chains without a score, and without arrays, come last, and so do those
        that predict NaN of some samples.

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
            `next` of the page before, of the same question; only `limit` may be another. No row is lost or shown again
            because others were deleted, trained, or trained again since.

        Returns
        -------
        ChainPage
            `total` is the number of rows of all pages. The columns of `rows`: `rank`, `chain_id`, `score` and `metric`
            (what was ranked by); `rmsecv`, `rmsecv_sd` (over repeats), `rmsecv_se` (its standard error from the spread
            over folds; null where samples are held out several times), `fold_mean` and `fold_sd` (of the folds' own
            scores; null where one has none) and `n_folds`, `rmsep` and `rmsec` (of the model that predicts), `r2`,
            `rpd`, `bias`, `accuracy` and `mcc` of what the folds held out; `val_score`, `test_score`, `train_score` as
            the chain was judged (with `target`, these and those of folds are the target's own `metric`); `has_final`;
            `model_name`, `model_class`, `preprocessings`, `best_params` (JSON), `task_type`, `n_samples`, `n_features`,
            `dataset_name`, `dataset_id`, `judged_by` (JSON), `run_id`, `run_name`, `pipeline_id`, `created_at`,
            `copies` (how many chains are of this configuration), and `target`.

        Raises
        ------
        InvalidInputError
            The metric, the partition, the page or a filter is unknown, `after` is of another question, nobody knows
            whether a lower value of a metric is better, or a mean over several targets would have no unit.
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
        target: str | None = None,
        search: str = "",
        **filters: Any,
    ) -> pl.DataFrame:
        """Return how many chains have each value of some columns, and how they score.

        `rank_by`, `target`, `search` and filters are those of `rank_chains`, and so is what is refused.

        Returns
        -------
        polars.DataFrame
            `column`, `value` (text), `chains` (as many as `rank_chains` has rows for this value: those of the same
            configuration count once), and `best` and `median`, the scores of all of them; these are NULL where the
            chains of a value are not ranked together, and `best` where the metric is best at a value, as a bias at 0.
        """
        wanted = WantedChains(filters, search, rank_by, target=target)
        with self._reading() as uow:
            return uow.summaries.facets(checked_texts(columns, "columns"), wanted)

    def score_histogram(
        self,
        rank_by: str | None = None,
        *,
        bins: int = 20,
        partition: str = "val",
        target: str | None = None,
        search: str = "",
        **filters: Any,
    ) -> pl.DataFrame:
        """Return how many chains have a score in each of some classes of equal width.

        What is not ranked together has classes of its own. All but `bins` is as for `rank_chains`, and so is what is
        refused.

        Returns
        -------
        polars.DataFrame
            `ranking` (from 1, in the order of `rank_chains`), its `dataset_name` and `metric`, `lower`, `upper` and
            `chains` (those of the same configuration count once), the lowest class first; classes without a chain are
            left out.
        """
        wanted = WantedChains(filters, search, rank_by, partition, target)
        with self._reading() as uow:
            return uow.summaries.score_histogram(wanted, bins)

    def parameter_profile(
        self, name: str, *, rank_by: str | None = None, target: str | None = None, search: str = "", **filters: Any
    ) -> pl.DataFrame:
        """Return how chains score with each value of a parameter of their model, such as `n_components`.

        Returns
        -------
        polars.DataFrame
            `value` (text), `chains`, `best` and `median`, by value; see `facets`, also for what is given.
        """
        wanted = WantedChains(filters, search, rank_by, target=target)
        with self._reading() as uow:
            return uow.summaries.parameter_profile(name, wanted)

    def compare_chains(self, chain_ids: Sequence[str]) -> ChainComparison:
        """Compare chains with the first of them: steps, scores, fold by fold, and the errors for the same samples.

        Parameters
        ----------
        chain_ids : list of str
            Two or more.

        Returns
        -------
        ChainComparison
            Errors are paired where the chains were judged by the same folds of the same data; else it says why not.

        Raises
        ------
        NotFoundError
            There is no such chain, or it has no predictions.
        InvalidInputError
            There are fewer than two, or one of them twice.
        """
        from .chains import Compared, TrainedOn, compare, holds_out_again, sample_frame

        ids = checked_texts(chain_ids, "chain_ids")
        if len({*ids}) < max(2, len(ids)):
            raise InvalidInputError(f"chain_ids are {ids}; give two or more different ones to compare")
        # In whatever order: they need not be ranked.
        wanted = WantedChains({"chain_id": ids}, ascending=True)
        with self._reading() as uow:
            rows = uow.summaries.rank_chains(wanted, None, copies=True).rows
            # A mean over what several models say of a sample is closer to the truth than any of them.
            fold = None if holds_out_again(rows["judged_by"]) else AVERAGE
            stored = [stored_predictions(uow, chain_id, "val", fold) for chain_id in ids]
            folds = uow.predictions.held_out_scores(ids)
            pipelines = [uow.runs.get_pipeline(chain["pipeline_id"]) or {} for chain, *_ in stored]
        absent = [chain_id for chain_id in ids if chain_id not in rows["chain_id"]]
        if absent:
            raise NotFoundError(f"chain {absent[0]} has no predictions to compare; or it is a refit: give its chain")
        samples = {name: self.load_artifact(name) for name in {name for *_, name in stored} if name is not None}
        compared = []
        for (chain, predictions, name), pipeline in zip(stored, pipelines, strict=True):
            config = pipeline.get("expanded_config")
            targets = TrainedOn.of(chain).target_names
            predictions = [row for row in predictions if (row["fold_id"] == AVERAGE) == (fold == AVERAGE)]
            frame = sample_frame(predictions, targets, samples[name] if name else None)
            own = folds.filter(chain_id=chain["chain_id"]).select("fold_id", "val_score")
            steps = config if isinstance(config, list) else []
            compared.append(Compared(chain, dict(own.iter_rows()), predictions, targets, frame, steps))
        order = pl.DataFrame({"chain_id": ids})
        return compare(order.join(rows.drop("rank"), on="chain_id", how="left", maintain_order="left"), compared)

    def run_summaries(
        self, status: str | None = None, dataset: str | None = None, limit: int | None = 100, offset: int = 0
    ) -> pl.DataFrame:
        """Return the runs, newest first, with what their pipelines come to.

        Parameters
        ----------
        status, dataset, limit, offset
            As for `list_runs`.

        Returns
        -------
        polars.DataFrame
            The columns of `list_runs`, `pipelines` and `failed` (how many), `metric` and `best` (the best score of what
            folds held out; null where pipelines have several metrics, or one of which nobody knows what is better),
            `seconds` (how long it took; null until it is completed or has failed).
        """
        with self._reading() as uow:
            return uow.progress.of_runs(uow.runs.list(status, dataset, limit, offset))

    def run_progress(self, run_id: str) -> RunProgress:
        """Tell how far a run is: pipelines by status, failures by cause, the time left, and the best chain so far.

        Raises
        ------
        NotFoundError
            There is no such run.
        """
        run_id = checked_text(run_id, "run_id")
        with self._reading() as uow:
            try:
                best = uow.summaries.rank_chains(WantedChains({"run_id": run_id}), limit=1).rows.to_dicts()
            except InvalidInputError:  # By a metric of which nobody knows what is better, there is no best.
                best = []
            return uow.progress.of_run(run_id, best[0] if best else None)

    def logs_since(self, run_id: str, log_id: str | None = None, *, limit: int = 1000) -> pl.DataFrame:
        """Return what the pipelines of a run have logged after a log line, oldest first.

        Parameters
        ----------
        run_id : str
        log_id : str, optional
            The last line that is known; None: from the beginning. If it was deleted since, what came after the time
            that its id tells; if its id tells none (only ids of this package do, not all that were imported), all.
        limit : int
            How many lines at most.

        Returns
        -------
        polars.DataFrame
            The columns of `get_pipeline_log`, and `pipeline_name`.

        Raises
        ------
        NotFoundError
            There is no such run.
        """
        with self._reading() as uow:
            return uow.progress.logs_since(run_id, log_id, checked_int(limit, "limit", 32))

    def change_token(self) -> str:
        """Return a text that is another one once something in the workspace was changed, by whichever process.

        It is made of the times and sizes of files, so that it costs nothing and waits for nobody. It may also differ
        where nothing was changed.
        """
        return self._workspace.change_token

    def usage(self, by: str = "run") -> pl.DataFrame:
        """Return what each run takes, or each dataset with all that was trained on it.

        Parameters
        ----------
        by : str
            `run` or `dataset`.

        Returns
        -------
        polars.DataFrame
            `run_id`, `name` and `created_at`, or `dataset_name`; how many `pipelines`, `chains` and `predictions` there
            are; `artifacts` (how many files of fitted objects, and of samples), `own_bytes` (of the files that only
            this run uses, which go with it) and `shared_bytes` (of those that others use, too). What takes most comes
            first. Rows are compressed in one file: how many of its bytes belong to a run, nobody can tell.

        Raises
        ------
        InvalidInputError
            `by` is something else.
        """
        with self._reading() as uow:
            return uow.usage.of_all(by)

    def get_result(self, result_id: str) -> Row | None:
        """Return a result with its `document` as it was given, and its `fingerprint`, the SHA-256 of it; or None."""
        with self._reading() as uow:
            return uow.results.get(result_id)

    def list_results(
        self,
        kind: str | None = None,
        *,
        run_id: str | None = None,
        pipeline_id: str | None = None,
        chain_id: str | None = None,
        prediction_id: str | None = None,
    ) -> pl.DataFrame:
        """Return the results of a kind, and about a row, without their documents, as a frame, newest first."""
        links = {"run_id": run_id, "pipeline_id": pipeline_id, "chain_id": chain_id, "prediction_id": prediction_id}
        with self._reading() as uow:
            return uow.results.list(kind=kind, **links)

    def untrusted_chains(self, chain_ids: Iterable[str]) -> list[str]:
        """Return which of some chains were imported and predict nothing before `trust_chain` allows it."""
        ids = checked_texts(chain_ids, "chain_ids")
        with self._reading() as uow:
            untrusted = uow.artifacts.untrusted()
            chains = uow.chains.get_many(ids) if untrusted else {}
            return [name for name in ids if name in chains and not untrusted.isdisjoint(artifact_ids(chains[name]))]

    def environment(self, chain_id: str) -> pl.DataFrame:
        """Return with which versions a chain's fitted objects were made, and which are here.

        Returns
        -------
        polars.DataFrame
            `package` (Python first), `then`, `now` (null where it is not installed) and `is_same`.

        Raises
        ------
        NotFoundError
            There is no such chain.
        """
        from .chains import environment_of

        with self._reading() as uow:
            chain = uow.chains.get(checked_text(chain_id, "chain_id"))
            if chain is None:
                raise NotFoundError(f"there is no chain {chain_id!r}; see rank_chains()")
            return environment_of(uow.artifacts.get_many(artifact_ids(chain)).values())


def stored_predictions(
    uow: UnitOfWork, chain_id: str, partition: str | None, fold_id: str | None = None
) -> tuple[Row, list[Row], str | None]:
    """Return a chain, its predictions with arrays, and the id of the artifact that tells of its samples, if any.

    Raises
    ------
    NotFoundError
        There is no such chain.
    """
    chain = uow.chains.get(chain_id)
    if chain is None:
        raise NotFoundError(f"there is no chain {chain_id!r}; see get_chains_for_pipeline()")
    predictions = uow.predictions.with_arrays(chain_id, partition, fold_id)
    datasets = [uow.datasets.require(name) for name in uow.datasets.of_pipelines([chain["pipeline_id"]])]
    samples = [row["samples_artifact"] for row in datasets if row["samples_artifact"] is not None]
    return chain, predictions, samples[0] if samples else None
