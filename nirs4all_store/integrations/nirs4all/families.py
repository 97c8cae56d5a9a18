"""nirs4all's families of results (calibrations, searches, tests of robustness) and its projects.

The first are results here, the others labels, as after an import: a document is kept character by character, and the
other columns are its details.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import polars as pl

from ...errors import NotFoundError
from ...identifiers import new_id
from ...storage import RESULT_LINKS
from .adapter import Adapter
from .documents import Row, plain, text_of


class Family(NamedTuple):
    """A family: what its id and its document are called, and nirs4all's class of its results."""

    key: str
    document: str
    module: str
    name: str

    @property
    def type(self) -> Any:
        """The class, which is in nirs4all."""
        return getattr(import_module(self.module), self.name)


CONTRACTS = "nirs4all.pipeline.dagml"
FAMILIES = {
    "conformal": Family("conformal_id", "result_json", f"{CONTRACTS}.conformal_contracts", "CalibratedRunResult"),
    "tuning": Family("tuning_id", "result_json", f"{CONTRACTS}.tuning_contracts", "TuningResult"),
    "robustness": Family("robustness_id", "report_json", "nirs4all.api.robustness", "RobustnessReport"),
}
COLOR = "#14b8a6"
"""The colour that nirs4all gives a project."""


class WithFamilies(Adapter):
    """A workspace with results of these families, and with projects."""

    def save_conformal_result(self, result: Any, **about: Any) -> str:
        """Save a calibration, under `name`, `conformal_id`, `metadata`, and the ids that it is about; return its id."""
        _require("conformal", result)
        columns = {
            "artifact_fingerprint": result.artifact.fingerprint,
            "target_name": result.artifact.target_name,
            "coverages": text_of(list(result.prediction.coverages)),
            "artifact_json": result.artifact.to_json(indent=None),
        }
        return self._save_result("conformal", result, columns, about)

    def save_tuning_result(self, result: Any, **about: Any) -> str:
        """Save a search, under `name`, `tuning_id`, `metadata`, and the ids that it is about; return its id."""
        _require("tuning", result)
        tuning = result.tuning
        columns = {
            "tuning_fingerprint": tuning.fingerprint,
            **{name: getattr(tuning, name) for name in ("engine", "metric", "direction")},
            **{name: getattr(result, name) for name in ("best_value", "n_trials")},
            "tuning_json": text_of(tuning.to_dict() | {"fingerprint": tuning.fingerprint}),
        }
        return self._save_result("tuning", result, columns, about)

    def save_robustness_result(self, report: Any, **about: Any) -> str:
        """Save a test of robustness, under `name`, `robustness_id`, `metadata`, and the ids that it is about."""
        _require("robustness", report)
        columns = {
            "mode": report.mode,
            "scenario_count": len(report.scenarios),
            "slice_by": text_of(list(report.slice_by)),
            "conformal_id": about.pop("conformal_id", None),
        }
        return self._save_result("robustness", report, columns, about)

    def load_conformal_result(self, conformal_id_or_fingerprint: str) -> Any:
        """Return a calibration, by its id or its fingerprint."""
        return self._load_result("conformal", conformal_id_or_fingerprint)

    def load_tuning_result(self, tuning_id_or_fingerprint: str) -> Any:
        """Return a search, by its id or its fingerprint."""
        return self._load_result("tuning", tuning_id_or_fingerprint)

    def load_robustness_result(self, robustness_id_or_fingerprint: str) -> Any:
        """Return a test of robustness, by its id or its fingerprint."""
        return self._load_result("robustness", robustness_id_or_fingerprint)

    def list_conformal_results(self, *, limit: int = 100, offset: int = 0) -> pl.DataFrame:
        """Return the calibrations, newest first."""
        return self._list_results("conformal").slice(offset, limit)

    def list_tuning_results(self, *, limit: int = 100, offset: int = 0) -> pl.DataFrame:
        """Return the searches, newest first."""
        return self._list_results("tuning").slice(offset, limit)

    def list_robustness_results(self, *, limit: int = 100, offset: int = 0) -> pl.DataFrame:
        """Return the tests of robustness, newest first."""
        return self._list_results("robustness").slice(offset, limit)

    def _save_result(self, kind: str, result: Any, columns: Row, about: Mapping[str, Any]) -> str:
        family = FAMILIES[kind]
        told = {"name": about.get("name", ""), "metadata": text_of(plain(about.get("metadata") or {}))}
        links = {name: about.get(name) for name in RESULT_LINKS}
        key = about.get(family.key) or new_id()
        details = {family.key: key} | told | links | columns | {"result_fingerprint": result.fingerprint}
        self.own.add_result(key, kind, told["name"], result.to_json(indent=None), links, details)
        return str(key)

    def _load_result(self, kind: str, key: str) -> Any:
        rows = self._list_results(kind).rows(named=True)
        family = FAMILIES[kind]
        found = [row for row in rows if key in (row[family.key], row["result_fingerprint"])]
        if not found:
            raise NotFoundError(f"there is no {kind} result {key!r}; see list_{kind}_results()")
        result = family.type.from_json(found[0][family.document])
        if result.fingerprint != found[0]["result_fingerprint"]:
            raise ValueError(f"the {kind} result {key!r} is not the one that was saved: its fingerprint differs")
        return result

    def _list_results(self, kind: str) -> pl.DataFrame:
        """Return all results of a family as nirs4all has them, newest first."""
        own, family = self.own, FAMILIES[kind]
        rows = [own.get_result(result_id) or {} for result_id in own.list_results(kind)["result_id"]]
        return pl.DataFrame(
            [row["details"] | {family.document: row["document"], "created_at": row["created_at"]} for row in rows],
            infer_schema_length=None,
        )

    # -- projects -----------------------------------------------------------------------------

    def create_project(self, name: str, description: str = "", color: str = COLOR) -> str:
        """Make a project; return its id."""
        return self.own.add_project(name, description, color)

    def list_projects(self) -> pl.DataFrame:
        """Return the projects, newest first."""
        names = {"label_id": "project_id"}
        rows = [{names.get(key, key): value for key, value in row.items()} for row in self.own.projects()]
        columns = ["project_id", "name", "description", "color", "created_at", "updated_at"]
        return pl.DataFrame([{key: row[key] for key in columns} for row in reversed(rows)], schema=columns)

    def get_project(self, project_id: str) -> Row | None:
        """Return a project, or None."""
        return next((row for row in self.list_projects().rows(named=True) if row["project_id"] == project_id), None)

    def get_project_by_name(self, name: str) -> Row | None:
        """Return the project of a name, or None."""
        return next((row for row in self.list_projects().rows(named=True) if row["name"] == name), None)

    def get_or_create_project(self, name: str) -> str:
        """Return the id of the project of a name, which is made if there is none."""
        found = self.get_project_by_name(name)
        return str(found["project_id"]) if found else self.create_project(name)

    def update_project(self, project_id: str, name: str, description: str = "", color: str = COLOR) -> None:
        """Change what a project says of itself."""
        self.own.change_project(project_id, {"name": name, "description": description, "color": color})

    def delete_project(self, project_id: str) -> None:
        """Delete a project; its runs stay."""
        self.own.delete_project(project_id)

    def set_run_project(self, run_id: str, project_id: str) -> None:
        """Put a run into a project, and out of the one that it was in."""
        self.own.set_project(run_id, project_id)

    def get_run(self, run_id: str) -> Row | None:
        """Return a run with its `project_id`, or None."""
        row = self.own.get_run(run_id)
        return None if row is None else row | {"project_id": self.own.project_of_runs().get(run_id)}

    def list_runs(
        self,
        status: str | None = None,
        dataset: str | None = None,
        project_id: str | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> pl.DataFrame:
        """Return runs with their `project_id`, newest first."""
        found, of_runs = self.own.list_runs(status, dataset, None), self.own.project_of_runs()
        ids = [of_runs.get(run_id) for run_id in found["run_id"]]
        found = found.with_columns(pl.Series("project_id", ids, dtype=pl.String))
        return (found if project_id is None else found.filter(project_id=project_id)).slice(offset, limit)


def _require(kind: str, result: Any) -> None:
    family = FAMILIES[kind]
    if not isinstance(result, family.type):
        raise TypeError(f"a {kind} result is a {family.name} of nirs4all, not {type(result).__name__}")
