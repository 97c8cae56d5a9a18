"""The repository of results: documents about a run, a pipeline, a chain or a prediction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import or_, select

from ...artifacts import sha256
from ...errors import InvalidInputError
from ...identifiers import new_id, utc_now
from ...validation import checked_text, checked_texts, json_text
from ..columns import table_of
from ..models import Chain, Pipeline, Prediction, Result, Run
from ..table_gateway import Repository

RESULTS, CHAINS, PREDICTIONS = table_of(Result), table_of(Chain), table_of(Prediction)
RESULT_LINKS = {"run_id": Run, "pipeline_id": Pipeline, "chain_id": Chain, "prediction_id": Prediction}
"""What a result can be about, and the rows that these ids name."""
ARTIFACT_KEY = "artifact key"
"""The kind of a result that says under which key (`name`) an artifact (`document`) is found again; it goes with it."""
LISTED = [column for column in RESULTS.columns if column.name != "document"]


class ResultRepo(Repository):
    """Reads and writes results inside one unit of work."""

    def add(
        self, kind: str, name: str | None, document: Any, links: Mapping[str, str | None], details: Any = None
    ) -> str:
        """Add a result, or find the same one; return its id. See `WorkspaceStore.save_result`."""
        text = document if isinstance(document, str) else _canonical(document)
        there = self.require_links(links)
        row: dict[str, Any] = {"kind": kind, "name": name, "fingerprint": sha256(text.encode())} | there
        same = select(RESULTS.c.result_id, RESULTS.c.document).where(
            *(RESULTS.c[key].is_not_distinct_from(row.get(key)) for key in (*row, *RESULT_LINKS))
        )
        found = [one["result_id"] for one in self._tables.rows(same) if one["document"] == text]
        return str(found[0]) if found else self.write(kind, text, there, name=name, details=details)

    def write(
        self,
        kind: str,
        text: str,
        links: Mapping[str, str],
        *,
        result_id: str | None = None,
        name: str | None = None,
        details: Any = None,
        created_at: datetime | None = None,
    ) -> str:
        """Write a document about rows that exist, whether or not there is the same one; return its id."""
        row = {
            "result_id": new_id() if result_id is None else result_id,
            "kind": kind,
            "name": name,
            "details": details,
            **links,
        }
        own = {"fingerprint": sha256(text.encode()), "document": text, "created_at": created_at or utc_now()}
        add = self._tables.add_new if result_id is None else self._tables.add
        add(Result, row | own)
        return str(row["result_id"])

    def require_links(self, links: Mapping[str, str | None]) -> dict[str, str]:
        """Return what a result is about, without None; what does not exist raises `NotFoundError`."""
        return {
            key: self._tables.require(RESULT_LINKS[key], value) for key, value in links.items() if value is not None
        }

    def get(self, result_id: str) -> dict[str, Any] | None:
        """Return a result as a dict, or None if there is none with this id."""
        return self._tables.row(Result, result_id)

    def list(self, **filters: str | None) -> pl.DataFrame:
        """Return the results that have these values, without their documents, newest first."""
        query = select(*LISTED).order_by(RESULTS.c.created_at.desc(), RESULTS.c.result_id.desc())
        wanted = {name: checked_text(value, name) for name, value in filters.items() if value is not None}
        return self._tables.frame(query.where(*(RESULTS.c[name] == value for name, value in wanted.items())))

    def documents(self, kind: str, link: str, ids: Sequence[str]) -> dict[str, Sequence[str]]:
        """Return the documents of a kind about some rows, oldest first, by the ids of these.

        `link` says what these are: `chain_id`, for example.
        """
        column = RESULTS.c[link]
        found: dict[str, Any] = {}
        query = select(column, RESULTS.c.document).where(RESULTS.c.kind == kind, column.in_(ids))
        for row in self._tables.rows(query.order_by(RESULTS.c.created_at, RESULTS.c.result_id)):
            found.setdefault(row[link], []).append(row["document"])
        return found

    def artifact_keys(self) -> set[str]:
        """Return all keys under which artifacts are found."""
        return set(self._tables.frame(select(RESULTS.c.name).where(RESULTS.c.kind == ARTIFACT_KEY))["name"])

    def of_artifact_keys(self, keys: Iterable[str]) -> Sequence[dict[str, Any]]:
        """Return the results that say which artifacts are found under some keys, oldest first."""
        wanted = RESULTS.c.name.in_(checked_texts(keys, "keys"))
        query = select(RESULTS).where(RESULTS.c.kind == ARTIFACT_KEY, wanted)
        return self._tables.rows(query.order_by(RESULTS.c.created_at, RESULTS.c.result_id))

    def delete_artifact_keys(self, artifact_ids: Iterable[str]) -> int:
        """Delete the keys of artifacts that are deleted; return how many there were."""
        gone = RESULTS.c.document.in_(list(artifact_ids))
        query = select(RESULTS.c.result_id).where(RESULTS.c.kind == ARTIFACT_KEY, gone)
        return self._tables.delete(Result, RESULTS.c.result_id, query)

    def delete(self, result_ids: Iterable[str]) -> int:
        """Delete results by their ids; return how many there were."""
        return self._tables.delete(Result, RESULTS.c.result_id, list(result_ids))

    def delete_of_run(self, run_id: str) -> int:
        """Delete the results about a run; return how many there were."""
        return self._tables.delete(Result, RESULTS.c.run_id, [run_id])

    def delete_of_pipelines(self, pipeline_ids: Iterable[str]) -> int:
        """Delete the results about pipelines, their chains and predictions; return how many there were."""
        ids = list(pipeline_ids)
        chains = select(CHAINS.c.chain_id).where(CHAINS.c.pipeline_id.in_(ids))
        predictions = select(PREDICTIONS.c.prediction_id).where(PREDICTIONS.c.pipeline_id.in_(ids))
        below = or_(
            RESULTS.c.pipeline_id.in_(ids), RESULTS.c.chain_id.in_(chains), RESULTS.c.prediction_id.in_(predictions)
        )
        return self._tables.delete(Result, RESULTS.c.result_id, select(RESULTS.c.result_id).where(below))

    def delete_of_chain(self, chain_id: str) -> int:
        """Delete the results about a chain; return how many there were."""
        return self._tables.delete(Result, RESULTS.c.chain_id, [chain_id])

    def delete_of_prediction(self, prediction_id: str) -> int:
        """Delete the results about a prediction; return how many there were."""
        return self._tables.delete(Result, RESULTS.c.prediction_id, [prediction_id])


def _canonical(document: Any) -> str:
    """Return JSON text that is equal for equal values."""
    text = json_text(document, "document")
    if text is None:
        raise InvalidInputError("document is None; give the text, or what JSON can hold")
    return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
