"""Our store, with what only the adapter asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...artifacts import checked_hash
from ...call_boundary import all_public
from ...chains import (
    FINAL_FOLDS,
    artifact_ids,
    is_pruned,
    own_chain,
    plan_replay,
    problem_of,
    with_ids,
    without_objects,
)
from ...errors import ChainReplayError, InvalidInputError, NotFoundError
from ...exchange import models_below, refits_of
from ...identifiers import new_id, utc_now
from ...storage import ARTIFACT_KEY, PROJECT, ChainRecord, Label, UnitOfWork
from ...store import WorkspaceStore
from ...workspace import deletion, pruning
from .documents import OF_CHAIN, OF_PREDICTION, Row

REFIT = "_refit"
"""What is in the name of a pipeline that nirs4all trains anew on all samples; by what it was chosen may follow."""

OF_ANY = f"pipeline{REFIT}"
"""How nirs4all 0.7 calls each pipeline of final models, whichever of the run's it is of."""
DESCRIBED = ("chain_id", "pipeline_id", "model_class", "preprocessings", "branch_path", "source_index")


@all_public
class OwnStore(WorkspaceStore):
    """A workspace into which nirs4all writes."""

    def save_together(self, artifacts: Sequence[Row], chains: Sequence[Row]) -> None:
        """Save chains and artifacts that one process has made, in one transaction.

        Parameters
        ----------
        artifacts : list of dict
            The arguments of `register_existing_artifact`.
        chains : list of dict
            As nirs4all has them, each with its `chain_id`. They may name these artifacts, and others that are there.

        Raises
        ------
        NotFoundError
            A chain names an artifact that is neither among these nor in the workspace. The others are saved.
        """
        there = {row["artifact_id"] for row in artifacts}
        gone = {chain["chain_id"]: self._absent(chain, there) for chain in chains}
        chains = [chain for chain in chains if not gone[chain["chain_id"]]]
        with self.transaction():
            renamed = {row["artifact_id"]: self.register_new(row) for row in artifacts}
            named = [
                with_ids(chain, {item: renamed.get(item, item) for item in artifact_ids(chain)}) for chain in chains
            ]
            for chain in named:
                self.add_chain(chain, named)
        if told := [f"chain {chain_id} names {ids}" for chain_id, ids in gone.items() if ids]:
            raise NotFoundError(
                f"{'; '.join(told)}: artifacts that nobody has registered; such a chain is not saved, the others are"
            )

    def _absent(self, chain: Row, there: set[str]) -> list[str]:
        """Return the artifacts that a chain names and nobody has."""
        return [item for item in artifact_ids(chain) if item not in there and not self.has_artifact(item)]

    def register_new(self, row: Row) -> str:
        """Register a file under its id, or under another one if the id has other content; return the id.

        nirs4all 0.7 makes ids of names: the same pipeline on other data has the same ids. It keeps the first object
        then, so that a chain predicts with the model of another run.
        """
        content_hash = checked_hash(row["content_hash"])
        for name in (row["artifact_id"], f"{row['artifact_id']}@{content_hash[:12]}"):
            with self._reading() as uow:
                known = uow.artifacts.get(name)
            if known is None:
                return self.register_existing_artifact(**row | {"artifact_id": name})
            if known["content_hash"] == content_hash:
                return name
        raise InvalidInputError(f"artifact {row['artifact_id']!r} is there with other content; give it another id")

    def add_chain(self, chain: Row, together: Sequence[Row]) -> None:
        """Add a chain of nirs4all's, one of some: as our replay needs it, and beside it as it is."""
        with self._writing() as uow:
            chain_id = uow.chains.add(ChainRecord.of(_own(uow, chain, together)))
            uow.artifacts.claim(uow.chains.artifact_ids(chain_id), chain_id)
            uow.results.write(OF_CHAIN, json.dumps(chain), {"chain_id": chain_id})

    def has_artifact(self, artifact_id: str) -> bool:
        """Tell whether there is an artifact with an id."""
        with self._reading() as uow:
            return uow.artifacts.get(artifact_id) is not None

    def add_artifact_key(self, key: str, artifact_id: str, details: Row) -> None:
        """Let an artifact be found under a key."""
        self.save_result(ARTIFACT_KEY, key, artifact_id, details=details)

    def artifact_of_key(self, key: str) -> str | None:
        """Return the id of the newest artifact under a key, or None."""
        with self._reading() as uow:
            rows = uow.results.of_artifact_keys([key])
            there = uow.artifacts.get_many([row["document"] for row in rows])
        return next((row["document"] for row in reversed(rows) if row["document"] in there), None)

    def delete_artifact_keys(self, details: Row) -> int:
        """Delete the keys that have these details; return how many there were."""
        with self._writing() as uow:
            rows = uow.results.of_artifact_keys(uow.results.artifact_keys())
            return uow.results.delete([row["result_id"] for row in rows if row["details"] == details])

    def refuse_pruned(self, chain_id: str) -> None:
        """Raise `ChainReplayError` if a chain has lost its fitted objects: a bundle of it would be empty."""
        chain = self.get_chain(chain_id)
        if chain is not None and is_pruned(chain):
            plan_replay(self._chain_and_artifacts(chain_id)[0])

    def chains_as_written(self, chain_ids: Sequence[str]) -> list[Row]:
        """Return chains as nirs4all wrote them, in this order; those that it did not write as our replay needs them.

        Each also has the `run_id`, the `dataset_name` and the `pipeline_status` of its pipeline.
        """
        with self._reading() as uow:
            rows = uow.chains.get_many(chain_ids)
            pipelines = uow.runs.get_pipelines({row["pipeline_id"] for row in rows.values()})
        written = self.documents(OF_CHAIN, "chain_id", chain_ids)
        found = []
        for row in (rows[name] for name in chain_ids if name in rows):
            pipeline = pipelines.get(row["pipeline_id"], {})
            of_pipeline = {name: pipeline.get(name) for name in ("run_id", "dataset_name")}
            of_pipeline |= {"pipeline_status": pipeline.get("status"), "relation_replay_manifest": None}
            told = written.get(row["chain_id"], {})
            if told and artifact_ids(told) and is_pruned(row):  # What it names is gone.
                told = {}
            found.append(of_pipeline | row | told)
        return found

    def documents(self, kind: str, link: str, ids: Sequence[str]) -> dict[str, Any]:
        """Return what the documents of a kind say about some rows, by the ids of these."""
        with self._reading() as uow:
            told = uow.results.documents(kind, link, ids)
        return {
            name: {key: item for text in texts for key, item in json.loads(text).items()}
            for name, texts in told.items()
        }

    def save_arrays(self, records: Mapping[str, tuple[Row, Row]]) -> None:
        """Save arrays of predictions, which replace those that they have, and what our columns do not take of them.

        Parameters
        ----------
        records : dict of str to (dict, dict)
            By the id of a prediction: its arrays by name, and what is kept beside.
        """
        with self._writing() as uow:
            uow.predictions.delete_arrays([*uow.predictions.arrays_of([*records])])
            for prediction_id, (arrays, beside) in records.items():
                link = uow.results.require_links({"prediction_id": prediction_id})
                uow.whole_rows.add_arrays(prediction_id, arrays)
                if beside:
                    uow.results.write(OF_PREDICTION, json.dumps(beside), link)

    def replace_prediction(self, row: Row) -> str:
        """Save a prediction in the place of the one with its id, which leaves its arrays to it; return the id."""
        prediction_id: str = row["prediction_id"]
        with self.transaction():
            arrays = self.load_arrays([prediction_id])
            beside = self.documents(OF_PREDICTION, "prediction_id", [prediction_id])
            self.delete_prediction(prediction_id)
            self.save_prediction(**row)
            self.save_arrays({name: (found, beside.get(name, {})) for name, found in arrays.items()})
        return prediction_id

    def load_arrays(self, prediction_ids: Sequence[str]) -> dict[str, Row]:
        """Return the arrays of predictions by id; those without arrays are left out."""
        with self._reading() as uow:
            return uow.predictions.arrays_of(prediction_ids)

    def mark_failed(self, pipeline_id: str, error: str) -> None:
        """Mark a pipeline failed; what it has saved stays."""
        with self._writing() as uow:
            uow.runs.fail_pipeline(pipeline_id, error)

    def drop_folds(self, run_id: str, dataset_name: str) -> int:
        """Remove the fitted objects of the chains of a run on a dataset that are not those of final models.

        Their scores and predictions stay. Nothing is removed where no final model can predict.

        Returns
        -------
        int
            How many files no other chain needs, and were removed.
        """
        with self._writing() as uow:
            pipelines = {row["pipeline_id"]: row for row in uow.runs.pipelines_of(run_id)}
            ids = [name for name, row in pipelines.items() if row["dataset_name"] == dataset_name]
            chains = [uow.chains.get(name) for one in ids for name in uow.chains.list(one)["chain_id"]]
            folds: list[Row] = []
            final: list[Row] = []
            for chain in chains:
                if chain is not None and artifact_ids(chain):
                    is_refit = REFIT in pipelines[chain["pipeline_id"]]["name"]
                    is_final = is_refit or not chain["fold_artifacts"].keys().isdisjoint(FINAL_FOLDS)
                    (final if is_final else folds).append(chain)
            can_predict = any(problem_of(chain) is None for chain in final)
            return pruning.drop_objects(uow, folds) if can_predict else 0

    def drop_empty(self, chain_ids: Iterable[str]) -> None:
        """Delete those chains that have no prediction any more, and the pipelines that have no chain then."""
        with self._writing() as uow:
            empty = [chain for chain in map(uow.chains.get, chain_ids) if chain is not None]
            empty = [chain for chain in empty if not uow.predictions.of_chain(chain["chain_id"])]
            for chain in empty:
                deletion.delete_chain(uow, chain)
            pipelines = {chain["pipeline_id"] for chain in empty}
            deletion.delete_pipelines(uow, [one for one in pipelines if uow.chains.list(one).is_empty()], True)

    # -- results and projects -----------------------------------------------------------------

    def add_result(
        self, result_id: str, kind: str, name: str, document: str, links: Mapping[str, str | None], details: Row
    ) -> None:
        """Add a result under an id of nirs4all's; its document is kept character by character."""
        with self._writing() as uow:
            there = uow.results.require_links(links)
            uow.results.write(kind, document, there, result_id=result_id, name=name, details=details)

    def delete_results(self, result_ids: Sequence[str]) -> int:
        """Delete results; return how many there were."""
        with self._writing() as uow:
            return uow.results.delete(result_ids)

    def add_project(self, name: str, description: str, color: str) -> str:
        """Add a project; return its id."""
        now, label_id = utc_now(), new_id()
        row = {"label_id": label_id, "kind": PROJECT, "name": name, "description": description, "color": color}
        with self._writing() as uow:
            return uow.whole_rows.add(Label, row | {"created_at": now, "updated_at": now})

    def projects(self) -> list[Row]:
        """Return the projects, oldest first."""
        with self._reading() as uow:
            return list(uow.labels.of_kind(PROJECT))

    def change_project(self, project_id: str, values: Mapping[str, str]) -> None:
        """Change what a project says of itself.

        Raises
        ------
        NotFoundError
            There is no such project.
        """
        with self._writing() as uow:
            if project_id not in {row["label_id"] for row in uow.labels.of_kind(PROJECT)}:
                raise NotFoundError(f"there is no project {project_id!r}; see list_projects()")
            uow.whole_rows.change(Label, project_id, dict(values) | {"updated_at": utc_now()})

    def delete_project(self, project_id: str) -> None:
        """Delete a project; its runs stay."""
        with self._writing() as uow:
            uow.labels.delete(project_id)

    def set_project(self, run_id: str, project_id: str) -> None:
        """Put a run into a project, and out of the one that it was in.

        Raises
        ------
        NotFoundError
            There is no such run or project.
        """
        with self._writing() as uow:
            if uow.runs.get(run_id) is None:
                raise NotFoundError(f"there is no run {run_id!r}; see list_runs()")
            uow.labels.unlink_one("run", run_id, [row["label_id"] for row in uow.labels.of_kind(PROJECT)])
            uow.labels.link(project_id, "run", run_id)

    def project_of_runs(self) -> dict[str, str]:
        """Return the id of the project of each run that is in one."""
        with self._reading() as uow:
            links = uow.labels.list_links().filter(owner_kind="run", kind=PROJECT)
        return dict(links.select("owner_id", "label_id").iter_rows())


def _own(uow: UnitOfWork, chain: Row, together: Sequence[Row]) -> Row:
    """Return a chain of nirs4all's as ours; one of which nobody knows what it means keeps its scores only."""
    described = {name: chain[name] for name in DESCRIBED}
    bare = {"steps": _bare(chain["steps"]), "model_step_idx": max(chain["model_step_idx"], 0)}
    nothing = described | bare | without_objects(bare)
    if not artifact_ids(chain):
        return nothing
    pipeline = uow.runs.get_pipeline(chain["pipeline_id"]) or {}
    chains, refits = _siblings(uow, pipeline, together)
    try:
        rows, below = uow.artifacts.get_many(artifact_ids(chain)), models_below(chain, chains, refits)
        own = described | own_chain(chain, rows, below, pipeline.get("expanded_config"))
        problem = problem_of(own | {"attachments": None})
    except ChainReplayError as error:
        problem = str(error)
    if problem is not None:
        return nothing | {"verification": {"verdict": "fails", "reason": problem}}
    return own | {"refit_of": refits.get(chain["chain_id"])}


def _siblings(uow: UnitOfWork, pipeline: Row, together: Sequence[Row]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Return the chains that say what one of a pipeline means, by pipeline, and which of them are refits of which.

    Those of its run for one of final models, of which more may be saved together with it; else those of its pipeline.
    """
    is_refit = REFIT in pipeline["name"]
    pipelines = uow.runs.pipelines_of(pipeline["run_id"]) if is_refit else [pipeline]
    chains = {row["pipeline_id"]: _chains_of(uow, row["pipeline_id"]) for row in pipelines}
    known = {chain["chain_id"] for rows in chains.values() for chain in rows}
    for chain in together:
        if chain["chain_id"] not in known:
            chains.setdefault(chain["pipeline_id"], []).append(chain)
    if not is_refit:
        return chains, {}
    rows = uow.artifacts.get_many([item for rows in chains.values() for chain in rows for item in artifact_ids(chain)])
    if pipeline["name"] != OF_ANY:
        return chains, refits_of(pipelines, chains, rows)
    judged = [row for row in pipelines if REFIT not in row["name"] and row["dataset_name"] == pipeline["dataset_name"]]
    together_judged = [chain for row in judged for chain in chains[row["pipeline_id"]]]
    of_any = {"pipeline_id": "", "name": OF_ANY.removesuffix(REFIT), "dataset_name": pipeline["dataset_name"]}
    return chains, refits_of([*judged, of_any, pipeline], chains | {"": together_judged}, rows)


def _bare(steps: Sequence[Row]) -> list[Row]:
    return [{name: step.get(name) for name in ("step_idx", "operator_class")} | {"params": {}} for step in steps]


def _chains_of(uow: UnitOfWork, pipeline_id: str) -> list[Row]:
    """Return the chains of a pipeline as nirs4all wrote them."""
    ids = uow.chains.list(pipeline_id)["chain_id"].to_list()
    return [json.loads(texts[-1]) for texts in uow.results.documents(OF_CHAIN, "chain_id", ids).values()]
