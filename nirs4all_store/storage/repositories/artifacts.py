"""The repository of artifacts (fitted objects): one row for each distinct content, and how many use it.

What keeps an artifact from being removed: docs/decisions/0003.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import JSON, String, bindparam, case, cast, func, literal, null, select, update

from ...artifacts import Trust, normalize
from ...identifiers import new_id, time_before, utc_now
from ...validation import checked_text, checked_texts
from ..columns import table_of
from ..lookup_cache import MAX_CACHED, CacheKey
from ..models import Artifact, Run
from ..table_gateway import Repository
from .artifact_references import CHAINS, PIPELINES, is_referenced_elsewhere_in_run, references_in_parts
from .datasets import ARTIFACTS_OF, DATASETS

ARTIFACTS, RUNS = table_of(Artifact), table_of(Run)
# Statements are made once: to make one takes as long as to run it.
MAX_CONTENTS = MAX_CACHED // 2
ALL_CONTENTS = ("artifacts", "all contents")
FEW_CONTENTS = (
    select(ARTIFACTS.c.artifact_id, ARTIFACTS.c.artifact_path, ARTIFACTS.c.content_hash, ARTIFACTS.c.format)
    .order_by(ARTIFACTS.c.created_at.desc(), ARTIFACTS.c.artifact_id.desc())
    .limit(MAX_CONTENTS + 1)
)
PLAIN = [column for column in ARTIFACTS.columns if not isinstance(column.type, JSON)]
OF_CONTENT = select(*PLAIN).where(ARTIFACTS.c.content_hash == bindparam("wanted"))
IMPORTED_AGAIN = (
    update(ARTIFACTS)
    .where(ARTIFACTS.c.artifact_id == bindparam("wanted"))
    .values(ref_count=ARTIFACTS.c.ref_count + 1, unclaimed=ARTIFACTS.c.unclaimed + 1, saved_at=bindparam("now"))
)
SAVED_AGAIN = IMPORTED_AGAIN.values(trust=null())  # What this workspace saves itself needs no trust of a user.

UNTRUSTED = select(ARTIFACTS.c.artifact_id).where(
    cast(ARTIFACTS.c.trust, String) == "[]", ARTIFACTS.c.format.in_(["joblib", "pickle", "cloudpickle"])
)
"""Objects that somebody else has pickled, and nobody trusts."""


class ArtifactRepo(Repository):
    """Reads and writes artifacts inside one unit of work.

    `ref_count` is the number of saves that no chain has claimed yet plus the number of chains and datasets that use the
    artifact. It is only shown to users: what may be removed is decided by the chains themselves.
    """

    def add(
        self,
        artifact_path: str,
        content_hash: str,
        operator_class: str | None = None,
        artifact_type: str | None = None,
        format: str = "joblib",
        size_bytes: int | None = None,
        provenance: Any = None,
        trust: Trust = None,
    ) -> str:
        """Register one save of a fitted object; return its id.

        If the same bytes are registered in this format already, it is the id of the oldest row.

        Parameters
        ----------
        artifact_path : str
            The name of the file, relative to `artifacts/`.
        content_hash : str
            The SHA-256 of its bytes.
        operator_class, artifact_type : str, optional
        format : str
            See `codecs`.
        size_bytes : int, optional
        provenance : dict, optional
            See `codecs.versions_of`.
        trust : True, list of str or None
            None: this workspace made the object. Otherwise it was imported, and a new row gets this trust; see
            `codecs.Trust`.
        """
        known = self._oldest_row(content_hash, format)
        if known:
            self._tables.saved.add(known["artifact_id"])
            again = SAVED_AGAIN if trust is None else IMPORTED_AGAIN
            self._tables.execute_prepared(again, {"wanted": known["artifact_id"], "now": utc_now()})
            return str(known["artifact_id"])
        artifact_id = new_id()
        self._tables.saved.add(artifact_id)
        return self._insert(
            artifact_id,
            artifact_path,
            content_hash,
            operator_class,
            artifact_type,
            format,
            size_bytes,
            provenance,
            trust,
        )

    def trust(self, ids: Iterable[str], trust: Trust) -> None:
        """Set the trust of imported artifacts; those that this workspace made are not changed.

        It replaces the trust of before; `trust_also` adds to it.
        """
        wanted = set(checked_texts(ids, "artifact ids"))
        if wanted:
            imported = ARTIFACTS.c.artifact_id.in_(wanted) & ARTIFACTS.c.trust.is_not(None)
            self._tables.execute(update(ARTIFACTS).where(imported).values(trust=trust))

    def trust_also(self, ids: Iterable[str], trust: Literal[True] | list[str]) -> None:
        """Add to the trust of imported artifacts: what was trusted before stays trusted."""
        for artifact_id, row in self.get_many(ids if trust else []).items():
            before = row["trust"] if isinstance(row["trust"], list) else []
            joined: Trust = True if trust is True or row["trust"] is True else sorted({*trust, *before})
            if joined != row["trust"]:
                self.trust([artifact_id], joined)

    def path_of(self, content_hash: str, format: str) -> str | None:
        """Return the path of the file with which a content is registered in a format, or None."""
        known = self._oldest_row(content_hash, format)
        return known["artifact_path"] if known else None

    def _oldest_row(self, content_hash: str, format: str) -> dict[str, Any] | None:
        """Return the id and the path of the oldest row of a content in a format, or None; they never change."""
        cache_key = _content(content_hash, format)
        known = self._tables.lookups.get(cache_key)
        if known is None and not self._all_are_known():
            row = self.get_by_hash(content_hash, format)
            known = row is not None and {name: row[name] for name in ("artifact_id", "artifact_path")}
            self._tables.lookups.put(cache_key, known)
        return known or self._tables.lookups.get(cache_key) or None

    def _all_are_known(self) -> bool:
        """Tell whether all contents are cached, so that one that is not is new; cache all of them if they are few."""
        if self._tables.lookups.get(ALL_CONTENTS) is None:
            rows = self._tables.rows(FEW_CONTENTS, {})
            self._tables.lookups.put(ALL_CONTENTS, len(rows) <= MAX_CONTENTS)
            if len(rows) <= MAX_CONTENTS:
                for row in rows:  # The oldest last, so that its row is the one that is kept: saves count for it.
                    self._tables.lookups.put(_content(row.pop("content_hash"), row.pop("format")), row)
        return bool(self._tables.lookups.get(ALL_CONTENTS))

    def adopt(
        self,
        artifact_id: str,
        artifact_path: str,
        content_hash: str,
        operator_class: str | None,
        artifact_type: str | None,
        format: str,
        size_bytes: int | None,
    ) -> str:
        """Register a file that exists already, under an id that the caller gives; return the id.

        A row with this id is not changed. A new row gets the trust of the oldest other row of the same content.
        """
        artifact_id = checked_text(artifact_id, "artifact_id")
        if self._tables.exists(Artifact, artifact_id):
            return artifact_id
        self._oldest_row(content_hash, format)  # It is cached, so that saves go on to count for an older row.
        oldest = self.get_by_hash(content_hash)
        row = self.get(oldest["artifact_id"]) if oldest else None
        return self._insert(
            artifact_id,
            artifact_path,
            content_hash,
            operator_class,
            artifact_type,
            format,
            size_bytes,
            None,
            row["trust"] if row else None,
        )

    def _insert(
        self,
        artifact_id: str,
        artifact_path: str,
        content_hash: str,
        operator_class: str | None,
        artifact_type: str | None,
        format: str,
        size_bytes: int | None,
        provenance: Any,
        trust: Trust,
    ) -> str:
        """Add a row with an id that no other row has."""
        now = utc_now()
        self._tables.add_new(
            Artifact,
            {
                "artifact_id": artifact_id,
                "artifact_path": artifact_path,
                "content_hash": content_hash,
                "operator_class": operator_class,
                "artifact_type": artifact_type,
                "format": format,
                "size_bytes": size_bytes,
                "ref_count": 1,
                "unclaimed": 1,
                "saved_at": now,
                "provenance": provenance,
                "created_at": now,
                "trust": trust,
            },
        )
        if not self._tables.lookups.get(_content(content_hash, format)):
            new = {"artifact_id": artifact_id, "artifact_path": artifact_path}
            self._tables.lookups.put(_content(content_hash, format), new)
        return artifact_id

    def get(self, artifact_id: str) -> dict[str, Any] | None:
        """Return the row of an artifact as a dict, or None if there is none with this id."""
        return self._tables.row(Artifact, artifact_id)

    def get_many(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the rows of these artifacts by id, as far as they exist."""
        return {row["artifact_id"]: row for row in self._tables.rows_of(Artifact, ids)}

    def untrusted(self) -> set[str]:
        """Return the ids of imported objects that are not loaded before somebody trusts them."""
        return set(self._tables.frame(UNTRUSTED, {})["artifact_id"])

    def get_by_hash(self, content_hash: str, format: str | None = None) -> dict[str, Any] | None:
        """Return the oldest row of a content (in a format, if one is given) without its JSON columns, or None."""
        rows = self._tables.rows(OF_CONTENT, {"wanted": checked_text(content_hash, "content_hash")})
        if format is not None:
            format = checked_text(format, "format")
            rows = [row for row in rows if row["format"] == format]
        return min(rows, key=lambda row: (row["created_at"], row["artifact_id"]), default=None)

    def claim(self, ids: Iterable[str], chain_id: str | None = None) -> None:
        """Count one more chain for each artifact; it replaces an unclaimed save that belongs to the chain.

        A save belongs to a chain if the chain's transaction made it, and has not saved another chain with this artifact
        since. If the chain is the first of its run to name the artifact, a save since the run began belongs to it, too.

        Parameters
        ----------
        ids : iterable of str
            The artifacts that the chain names.
        chain_id : str, optional
            The chain. Without it, only saves of the transaction count.
        """
        wanted = set(checked_texts(ids, "artifact ids"))
        own = wanted & self._tables.saved
        self._tables.saved -= own
        if chain_id is not None:
            own |= self._of_its_run(wanted - own, chain_id)
        for group, new_users in ((own, case((ARTIFACTS.c.unclaimed > 0, 0), else_=1)), (wanted - own, literal(1))):
            values = {"ref_count": ARTIFACTS.c.ref_count + new_users}
            if group is own:
                values["unclaimed"] = func.greatest(ARTIFACTS.c.unclaimed - 1, 0)
            if group:
                self._tables.execute(update(ARTIFACTS).where(ARTIFACTS.c.artifact_id.in_(group)).values(values))

    def _of_its_run(self, ids: set[str], chain_id: str) -> set[str]:
        """Return those artifacts that a chain is the first of its run to name, with a save since the run began."""
        if not ids:
            return set()
        began = select(RUNS.c.created_at).join(PIPELINES, PIPELINES.c.run_id == RUNS.c.run_id)
        began = began.join(CHAINS, CHAINS.c.pipeline_id == PIPELINES.c.pipeline_id).where(CHAINS.c.chain_id == chain_id)
        waiting = ARTIFACTS.c.artifact_id.in_(ids) & (ARTIFACTS.c.unclaimed > 0)
        query = select(ARTIFACTS.c.artifact_id, (ARTIFACTS.c.ref_count > ARTIFACTS.c.unclaimed).label("is_used"))
        rows = self._tables.rows(query.where(waiting, ARTIFACTS.c.saved_at >= began.scalar_subquery()))
        return {
            row["artifact_id"]
            for row in rows
            if not (row["is_used"] and is_referenced_elsewhere_in_run(self._tables, chain_id, row["artifact_id"]))
        }

    def release(self, ids: Iterable[str]) -> None:
        """Count one chain less for each time that an id is given, but never fewer than the unclaimed saves."""
        by_count: dict[int, list[str]] = {}
        for artifact_id, count in Counter(checked_texts(ids, "artifact ids")).items():
            by_count.setdefault(count, []).append(artifact_id)
        for count, group in by_count.items():
            lower = func.greatest(ARTIFACTS.c.ref_count - count, ARTIFACTS.c.unclaimed)
            self._tables.execute(update(ARTIFACTS).where(ARTIFACTS.c.artifact_id.in_(group)).values(ref_count=lower))

    def collectable(
        self, grace: timedelta | datetime | None, among: Iterable[str] | None = None, without: Iterable[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the artifacts that may be removed, as nothing keeps them.

        Parameters
        ----------
        grace : timedelta, datetime or None
            How long a save may wait for a chain to claim it, or since when (UTC) such saves are kept; None: for ever.
        among : iterable of str, optional
            Only these ids.
        without : iterable of str
            Datasets that count as gone already.

        Returns
        -------
        list of dict
            Rows, without their JSON columns, that no stored chain or dataset names, with no unclaimed save within
            `grace`. An artifact counts as named if its id is anywhere in the row of a chain that cannot be read.
        """
        loose = ARTIFACTS.c.unclaimed <= 0
        if grace is not None:
            before = time_before(grace) if isinstance(grace, timedelta) else grace
            loose |= ARTIFACTS.c.saved_at <= before
        query = select(*PLAIN).where(loose).order_by(ARTIFACTS.c.artifact_id)
        if among is not None:
            query = query.where(ARTIFACTS.c.artifact_id.in_(checked_texts(among, "among")))
        gone = checked_texts(without, "without")
        for column in ARTIFACTS_OF:
            used = select(column).where(column.is_not(None), DATASETS.c.dataset_id.not_in(gone))
            query = query.where(ARTIFACTS.c.artifact_id.not_in(used))
        rows = self._tables.rows(query)
        if not rows:
            return []
        for found in references_in_parts(self._tables):
            rows = [
                row
                for row in rows
                if row["artifact_id"] not in found.users and not found.might_reference(row["artifact_id"])
            ]
        return rows

    def date_back(self) -> None:
        """Set the time of saves that are dated in the future to now; the clock was put back since they were made."""
        now = utc_now()
        if self._tables.rows(select(ARTIFACTS.c.artifact_id).where(ARTIFACTS.c.saved_at > now).limit(1)):
            self._tables.execute(update(ARTIFACTS).where(ARTIFACTS.c.saved_at > now).values(saved_at=now))

    def all(self) -> list[dict[str, Any]]:
        """Return the rows of all artifacts without their JSON columns, since one of these may be damaged."""
        return self._tables.rows(select(*PLAIN).order_by(ARTIFACTS.c.artifact_id))

    def correct(self, artifact_id: str, **values: int) -> None:
        """Set some of `ref_count`, `unclaimed` and `size_bytes` (of the file) of an artifact."""
        self._tables.update(Artifact, artifact_id, **values)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete rows; return how many there were. The unit of work removes their files after its commit."""
        return self._tables.delete(Artifact, ARTIFACTS.c.artifact_id, ids)

    def paths(self) -> set[str]:
        """Return the path of every file that a row names, in its normal spelling; see `normalize`."""
        return {normalize(row["artifact_path"]) for row in self._tables.rows(select(ARTIFACTS.c.artifact_path))}

    def named_among(self, paths: Iterable[str]) -> set[str]:
        """Return those of these paths, in their normal spelling, that a row names in any spelling."""
        if isinstance(paths, set):  # The name of a file may be no Unicode text; no row can have it.
            paths = {path for path in paths if path.encode(errors="ignore").decode() == path}
        return self.paths() & set(map(normalize, checked_texts(paths, "paths")))


def _content(content_hash: str, format: str) -> CacheKey:
    return f"artifacts of {checked_text(format, 'format')}", checked_text(content_hash, "content_hash")
