"""The repository of datasets: what is known of the data that pipelines are trained on.

Which rows are one dataset, and when a dataset is removed: docs/decisions/0022.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import select

from ...errors import InvalidInputError, InvalidTypeError
from ...identifiers import new_id, utc_now
from ...validation import checked_texts, type_text
from ..columns import checked_value, table_of
from ..lookup_cache import CacheKey
from ..models import Dataset, Pipeline
from ..table_gateway import Repository

DATASETS, PIPELINES = table_of(Dataset), table_of(Pipeline)
ARTIFACTS_OF = (DATASETS.c.samples_artifact, DATASETS.c.spectra_artifact)
DESCRIPTIONS: dict[str, type] = {
    "target_names": list,
    "units": dict,
    "task_type": str,
    "n_samples": int,
    "n_features": int,
    "wavelengths": list,
    "wavelength_unit": str,
    "origin": str,
    "metadata_columns": list,
    "split": dict,
}
"""The columns that describe a dataset, beside its name, and what each takes."""
CORRECTABLE = {"name": str} | {name: kind for name, kind in DESCRIPTIONS.items() if name != "target_names"}
"""What `update_dataset` takes: not the names of the targets, by which a dataset is known."""
_LINKED = select(PIPELINES.c.dataset_id).where(PIPELINES.c.dataset_id.is_not(None))
Row = dict[str, Any]


class DatasetRepo(Repository):
    """Reads and writes datasets inside one unit of work."""

    def add(self, described: Mapping[str, Any]) -> str:
        """Add a dataset whose data are known, or find it; return its id.

        One that is found keeps what it says of itself, and gets what it lacks.

        Parameters
        ----------
        described : mapping
            Values by column: `name`, `content_hash`, `x_hash` and more.
        """
        same = [row for row in self._of_hash(described["content_hash"]) if _is_same(row, described)]
        if not same:
            return self._insert(described)
        found = min(same, key=lambda row: (row["x_hash"] is None, row["created_at"], row["dataset_id"]))
        self.fill(found, described)
        return str(found["dataset_id"])

    def fill(self, row: Row, described: Mapping[str, Any]) -> None:
        """Give a dataset those of some values that it lacks."""
        lacking = {name: value for name, value in described.items() if value is not None and row[name] is None}
        if lacking:
            self._tables.update(Dataset, row["dataset_id"], **lacking)

    def add_told(self, told: Mapping[str, Any]) -> None:
        """Add a dataset that is only described, as in `begin_run(datasets=[...])`, unless it is there.

        What does not fit its column is left out. A name without a hash adds nothing if there is a dataset of this name:
        nobody can tell whether it is another one.

        Parameters
        ----------
        told : mapping
            With a `name`, and maybe `hash` and any of `DESCRIPTIONS`.
        """
        content_hash = told.get("hash")
        if isinstance(content_hash, str) and _fits("content_hash", content_hash):
            self.of_name(told["name"], content_hash, told)
        elif not self._tables.rows(_few(DATASETS.c.name == told["name"])):
            self.of_name(told["name"], None, told)

    def of_name(self, name: str, content_hash: str | None, told: Mapping[str, Any] | None = None) -> str | None:
        """Return the id of the dataset with this name and hash, which is added if it is absent; None without a name.

        A dataset that has no hash yet, and that no pipeline was trained on, gets this one.

        Parameters
        ----------
        name : str
        content_hash : str or None
        told : mapping, optional
            What a new row says beside that; see `add_told`.
        """
        if not name and content_hash is None:
            return None
        # Once for all pipelines of a run: a query would insert the rows that wait.
        known = self._tables.lookups.get(_named(name, content_hash)) or None
        if known is None:
            known = self._find(name, content_hash) or self._complete(name, content_hash)
            known = known or self._insert(_fitting(told or {}) | {"name": name, "content_hash": content_hash})
            self._tables.lookups.put(_named(name, content_hash), known)
        return str(known)

    def _find(self, name: str, content_hash: str | None) -> str | None:
        rows = self._tables.rows(_few((DATASETS.c.name == name) & _has_hash(content_hash)))
        return rows[0]["dataset_id"] if rows else None

    def _complete(self, name: str, content_hash: str | None) -> str | None:
        """Give a dataset of this name that has no hash, and no pipeline, the hash; return its id, or None."""
        unused = (DATASETS.c.name == name) & DATASETS.c.content_hash.is_(None) & DATASETS.c.dataset_id.not_in(_LINKED)
        rows = self._tables.rows(_few(unused))
        if not rows or content_hash is None:
            return None
        self._tables.update(Dataset, rows[0]["dataset_id"], content_hash=content_hash)
        self._tables.lookups.put(_named(name, None), False)
        return str(rows[0]["dataset_id"])

    def _of_hash(self, content_hash: str) -> Any:
        return self._tables.rows(select(DATASETS).where(DATASETS.c.content_hash == content_hash))

    def _insert(self, values: Mapping[str, Any]) -> str:
        dataset_id = new_id()
        self._tables.add_new(Dataset, {**values, "dataset_id": dataset_id, "created_at": utc_now()})
        return dataset_id

    def get(self, dataset_id: str) -> Row | None:
        """Return a dataset as a dict, or None if there is none with this id."""
        return self._tables.row(Dataset, dataset_id)

    def require(self, dataset_id: str) -> Row:
        """Return a dataset as a dict; raise `NotFoundError` if there is none with this id."""
        (row,) = self._tables.rows_of(Dataset, [self._tables.require(Dataset, dataset_id)])
        return row

    def list(self) -> pl.DataFrame:
        """Return all datasets as a frame, newest first."""
        return self._tables.frame(select(DATASETS).order_by(DATASETS.c.created_at.desc(), DATASETS.c.dataset_id.desc()))

    def all(self) -> Any:
        """Return all datasets as a list of dicts, oldest first."""
        return self._tables.rows(select(DATASETS).order_by(DATASETS.c.created_at, DATASETS.c.dataset_id))

    def describe(self, dataset_id: str, values: Mapping[str, Any]) -> None:
        """Correct what a dataset says of itself; see `WorkspaceStore.update_dataset`."""
        row = self.require(dataset_id)
        values = _corrections(row, values)
        if values:
            self._tables.update(Dataset, dataset_id, **values)
        for name in {row["name"], values.get("name", row["name"])}:
            self._tables.lookups.put(_named(name, row["content_hash"]), False)

    def name_artifact(self, dataset_id: str, **artifact: str) -> None:
        """Set `samples_artifact` or `spectra_artifact`; the caller claims it."""
        self._tables.update(Dataset, dataset_id, **artifact)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the rows of datasets; return how many there were. The caller releases their artifacts."""
        return self._tables.delete(Dataset, DATASETS.c.dataset_id, ids)

    def unused(self, before: datetime | None = None, among: Iterable[str] | None = None) -> Any:
        """Return the ids of the datasets that no pipeline was trained on.

        Parameters
        ----------
        before : datetime, optional
            Only those that were added before (UTC).
        among : iterable of str, optional
            Only these.
        """
        query = select(DATASETS.c.dataset_id).where(DATASETS.c.dataset_id.not_in(_LINKED))
        if before is not None:
            query = query.where(DATASETS.c.created_at <= before)
        if among is not None:
            query = query.where(DATASETS.c.dataset_id.in_(checked_texts(among, "among")))
        return [row["dataset_id"] for row in self._tables.rows(query.order_by(DATASETS.c.dataset_id))]

    def of_pipelines(self, pipeline_ids: Iterable[str]) -> set[str]:
        """Return the ids of the datasets that some pipelines were trained on."""
        query = _LINKED.where(PIPELINES.c.pipeline_id.in_(checked_texts(pipeline_ids, "pipeline ids"))).distinct()
        return {row["dataset_id"] for row in self._tables.rows(query)}

    def artifact_users(self, ids: Iterable[str] | None = None) -> Any:
        """Return the datasets (of these ids; None: all) that name each artifact, as a dict of id to list of ids."""
        query = select(DATASETS.c.dataset_id, *ARTIFACTS_OF).order_by(DATASETS.c.dataset_id)
        if ids is not None:
            query = query.where(DATASETS.c.dataset_id.in_(checked_texts(ids, "dataset ids")))
        users: dict[str, list[str]] = {}
        for row in self._tables.rows(query):
            for artifact_id in {row[column.name] for column in ARTIFACTS_OF} - {None}:
                users.setdefault(artifact_id, []).append(row["dataset_id"])
        return users


def file_name(origin: str) -> str:
    """Return the name of a file without its folder, whichever system wrote the path: a path tells of a machine."""
    return re.split(r"[/\\]", origin)[-1]


def _named(name: str, content_hash: str | None) -> CacheKey:
    return "datasets by name and hash", json.dumps([name, content_hash])


def _few(condition: Any) -> Any:
    """Return the SELECT of the id of the oldest dataset of which a condition is true."""
    order = (DATASETS.c.created_at, DATASETS.c.dataset_id)
    return select(DATASETS.c.dataset_id).where(condition).order_by(*order).limit(1)


def _has_hash(content_hash: str | None) -> Any:
    return DATASETS.c.content_hash.is_(None) if content_hash is None else DATASETS.c.content_hash == content_hash


def _is_same(row: Row, described: Mapping[str, Any]) -> bool:
    """Tell whether a dataset with the hash of some data is that of the data.

    One that was only told of must have the same name: that the hash was this package's own, nobody has seen.
    """
    if row["x_hash"] is None:
        return row["name"] == described["name"] and row["target_names"] in (None, described.get("target_names"))
    return bool(row["target_names"] == described.get("target_names"))


def _fits(column: str, value: Any) -> bool:
    try:
        checked_value(DATASETS.columns[column], value)
    except InvalidInputError:
        return False
    return True


def _fitting(told: Mapping[str, Any]) -> Row:
    """Return what a user's own dict says under the name of a description, where it is of its kind."""
    values = {name: told[name] for name, kind in DESCRIPTIONS.items() if isinstance(told.get(name), kind)}
    if "origin" in values:
        values["origin"] = file_name(values["origin"])
    return {name: value for name, value in values.items() if _fits(name, value)}


def _corrections(row: Row, values: Mapping[str, Any]) -> Row:
    """Return a user's corrections as they are stored.

    Raises
    ------
    InvalidTypeError
        There is no such description, or a value is not of its kind.
    InvalidInputError
        A unit is given for several targets or for none of them, there are more or fewer wavelengths than variables,
        a number of samples or variables is negative, or the name is empty.
    """
    corrected = dict(values)
    if "unit" in corrected:
        corrected["units"] = _units(row, corrected.pop("unit"))
    if isinstance(corrected.get("origin"), str):
        corrected["origin"] = file_name(corrected["origin"])
    if hasattr(corrected.get("wavelengths"), "tolist"):
        corrected["wavelengths"] = corrected["wavelengths"].tolist()
    for name, value in corrected.items():
        if name not in CORRECTABLE:
            known = ", ".join(["unit", *CORRECTABLE])
            raise InvalidTypeError(f"a dataset has no description {name!r} that can be corrected; give some of {known}")
        if not isinstance(value, CORRECTABLE[name] | None):
            raise InvalidTypeError(f"{name} takes a {CORRECTABLE[name].__name__} or None, not {type_text(value)}")
        if isinstance(value, int) and value < 0:
            raise InvalidInputError(f"{name}={value} counts less than nothing; give a number from 0 up, or None")
    if str(corrected.get("name", "none")).strip() == "":
        raise InvalidInputError("the name is empty; give one by which people know the dataset")
    targets, units = row["target_names"], corrected.get("units") or {}
    if targets and (others := [name for name in units if name not in targets]):
        raise InvalidInputError(f"a unit is given for {others[0]!r}, and the targets are {', '.join(targets)}")
    found, features = corrected.get("wavelengths"), corrected.get("n_features", row["n_features"])
    if texts := [one for one in found or [] if not isinstance(one, int | float)]:
        raise InvalidTypeError(f"wavelengths have {texts[0]!r}, which is no number; give a number for each variable")
    if found is not None and features is not None and len(found) != features:
        raise InvalidInputError(f"there are {len(found)} wavelengths for {features} variables; give one for each")
    return corrected


def _units(row: Row, unit: Any) -> Row | None:
    """Return the unit of each target, of that of the only one or of those of all in their order."""
    names, given = row["target_names"] or ["y"], unit if isinstance(unit, list) else [unit]
    if unit is None:
        return None
    if len(names) != len(given):
        raise InvalidInputError(
            f"unit={unit!r} is {len(given)} for {len(names)} targets, {', '.join(names)}; give a unit for each in this "
            "order, or units={target: unit}"
        )
    return dict(zip(names, given, strict=True))
