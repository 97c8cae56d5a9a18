"""Checks all rows and files of a workspace, and reports each problem as a `Finding`.

A finding says what `repair` would do about the problem; see `Finding` for the kinds of problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from ..artifacts import CODECS, checked_hash, normalize
from ..chains import artifact_ids, problem_of
from ..engine import ENGINE_ERRORS, HEAD, Finding
from ..errors import ArtifactCorruptError, ArtifactLoadError, ArtifactMissingError, InvalidInputError
from ..filesystem import LINK, PLAIN, kind_of
from ..storage import UnitOfWork
from .layout import odd_places

GRACE = timedelta(days=1)
RESTORE = "restore it from a backup, or train again"
Row = dict[str, Any]
Part = Callable[[UnitOfWork], Iterable["Finding"]]


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes
    ----------
    deep : bool
        Whether every value was read, and the SHA-256 of every file computed.
    findings : list of Finding
        The problems.
    rows : dict of str to int
        The number of rows of each table.
    files : int
        The number of artifacts, each of which has a file.
    """

    deep: bool
    findings: list[Finding]
    rows: dict[str, int]
    files: int

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.findings


def check(uow: UnitOfWork, *, deep: bool) -> CheckReport:
    """Check every row and file, and change nothing; see `WorkspaceStore.check`.

    Parameters
    ----------
    uow : UnitOfWork
    deep : bool
        Also read every value, and compute the SHA-256 of every file.
    """
    findings: list[Finding] = []
    rows: dict[str, int] = {}
    parts: list[Part] = [_places, _differences, _links, _chains, _counts, partial(_files, deep=deep)]
    if deep:
        parts += [partial(_values, table=table) for table in uow.integrity.tables if table != "chains"]  # Read already.
        parts.append(_contents)
    try:
        rows = uow.integrity.counts()
    except ENGINE_ERRORS as error:
        _note_unreadable(uow, error, findings)
    for part in parts:
        try:
            findings.extend(part(uow))  # `extend` keeps the findings that come before an error.
        except Exception as error:  # A damaged file may cause any error; the other parts may be readable.
            _note_unreadable(uow, error, findings)
    return CheckReport(deep, findings, rows, rows.get("artifacts", 0))


def _note_unreadable(uow: UnitOfWork, error: Exception, findings: list[Finding]) -> None:
    _raise_interruption(uow, error)
    message = f"it cannot be read in part: {error}; restore it from a backup"
    findings.append(Finding("unreadable", "store.duckdb", message))
    uow.rollback()


def _raise_interruption(uow: UnitOfWork, error: Exception) -> None:
    """Raise an error again that Ctrl-C or a signal handler has caused: it is not a problem of the file."""
    if uow.is_interruption(error):
        raise error


def _differences(uow: UnitOfWork) -> Iterator[Finding]:
    found = uow.differences
    for extra in found.more:
        yield Finding(
            "not-ours", extra.what, f"no workspace has it, and it may act by itself; to remove it: {extra.drop}"
        )
    for changed in found.changed:
        yield Finding(
            "other-column",
            changed.column,
            f"revision {HEAD} has `{changed.wanted}`, and here is "
            f"{f'`{changed.here}`' if changed.here else 'no such column'}; {RESTORE}",
        )


def _places(uow: UnitOfWork) -> Iterator[Finding]:
    if uow.blobs.folder is not None:
        for name, kind in odd_places(uow.blobs.folder.parent):
            yield _odd(name, kind)


def _odd(name: str, kind: str) -> Finding:
    code = "link" if kind == LINK else "no-file"
    return Finding(code, name, f"it is {kind}, which nothing here follows or reads; remove it if you did not make it")


def _links(uow: UnitOfWork) -> Iterator[Finding]:
    for table, key in uow.integrity.orphans():
        yield Finding("orphan", f"{table} {key}", "what it belongs to is gone", "remove the row")
    for key in uow.integrity.without_chain():
        yield Finding("chain-gone", f"predictions {key}", "it names a chain that is gone", "let it name none")
    for key in uow.integrity.without_dataset():
        yield Finding("dataset-gone", f"pipelines {key}", "it names a dataset that is gone", "let it name none")
    for key in uow.integrity.with_chain_of_another_pipeline():
        yield Finding("other-pipeline", f"predictions {key}", f"it names a chain of another pipeline; {RESTORE}")


def _chains(uow: UnitOfWork) -> Iterator[Finding]:
    found = uow.chains.uses()
    for chain_id, problem in found.unreadable.items():
        yield Finding("unreadable-value", f"chains {chain_id}", f"{problem}; {RESTORE}")
    for chain in found.chains:
        why = problem_of(chain)
        if why is not None:
            yield Finding("bad-chain", f"chains {chain['chain_id']}", why)
    known = {row["artifact_id"] for row in uow.artifacts.all()}
    for artifact_id, chains in found.users.items():
        if artifact_id not in known:
            for chain_id in chains:
                yield Finding(
                    "artifact-gone",
                    f"chains {chain_id}",
                    f"it names artifact {artifact_id}, which has no row; {RESTORE}",
                )
    for artifact_id, datasets in uow.datasets.artifact_users().items():
        if artifact_id not in known:
            for dataset_id in datasets:
                yield Finding(
                    "artifact-gone",
                    f"datasets {dataset_id}",
                    f"it names artifact {artifact_id}, which has no row; {RESTORE}",
                )


def _counts(uow: UnitOfWork) -> Iterator[Finding]:
    for row, ref_count, unclaimed in miscounted(uow):
        yield Finding(
            "wrong-count",
            f"artifacts {row['artifact_id']}",
            f"its ref_count is {row['ref_count']} with {row['unclaimed']} unclaimed saves, and should be {ref_count} "
            f"with {unclaimed}",
            "count anew",
        )


def miscounted(uow: UnitOfWork) -> Iterator[tuple[Row, int, int]]:
    """Yield each artifact with wrong counts, and the right `ref_count` and `unclaimed`.

    Chains that a repair will remove are not counted. Artifacts that an unreadable chain may name are left out.
    """
    gone = {key for table, key in uow.integrity.orphans() if table == "chains"}
    found, datasets = uow.chains.uses(), uow.datasets.artifact_users()
    for row in uow.artifacts.all():
        if found.might_reference(row["artifact_id"]):
            continue
        unclaimed = max(row["unclaimed"], 0)
        ref_count = unclaimed + sum(chain not in gone for chain in found.users.get(row["artifact_id"], []))
        ref_count += len(datasets.get(row["artifact_id"], []))
        if (row["ref_count"], row["unclaimed"]) != (ref_count, unclaimed):
            yield row, ref_count, unclaimed


def _files(uow: UnitOfWork, deep: bool) -> Iterator[Finding]:
    folder = uow.blobs.folder
    if (
        folder is not None and kind_of(folder) not in PLAIN
    ):  # It is a link: `_places` reports it, and it is not followed.
        return
    rows = uow.artifacts.all()
    found, datasets = uow.chains.uses(), uow.datasets.artifact_users()
    chains = {chain["chain_id"]: chain for chain in found.chains}
    for row in rows:
        if row["format"] not in CODECS:
            yield Finding(
                "bad-format",
                f"artifacts {row['artifact_id']}",
                f"its format {row['format']!r} is none of {', '.join(CODECS)}; {RESTORE}",
            )
        finding = _file(uow, row, deep)
        if finding is not None:
            used = [_use(chains[chain_id], row) for chain_id in found.users.get(row["artifact_id"], [])]
            used += [f"dataset {dataset_id}" for dataset_id in datasets.get(row["artifact_id"], [])]
            advice = "" if finding.code in ("wrong-size", "unreadable-file") or not used else f"; {RESTORE}"
            yield replace(finding, message=f"{finding.message}; {_consequence(used)}{advice}")
    paths = [row["artifact_path"] for row in rows]
    for path, kind in uow.blobs.odd(paths).items():
        yield _odd(path, kind)
    for path in uow.blobs.orphans(paths, uow.time_before(GRACE)):
        yield Finding("unlisted-file", path, "no artifact names it", "move it to artifacts/.quarantine")


def _file(uow: UnitOfWork, row: Row, deep: bool) -> Finding | None:
    path, name = normalize(row["artifact_path"]), f"artifacts {row['artifact_id']}"
    try:
        checked_hash(row["content_hash"])
    except InvalidInputError as error:
        return Finding("bad-hash", name, f"whether {path} is whole cannot be told: {error}")
    try:
        size = uow.blobs.size(path)
    except ArtifactMissingError as error:
        _raise_interruption(uow, error)
        if isinstance(error.__cause__, PermissionError):
            return Finding("unreadable-file", path, f"{name}: {error}")
        return Finding("missing-file", path, f"the file of {name} is missing: {error}")
    except ArtifactCorruptError as error:
        return Finding("bad-path", name, f"{error}")
    has_other_size = row["size_bytes"] is not None and size != row["size_bytes"]
    try:
        if deep or has_other_size:  # Only the hash tells whether the row or the file is wrong.
            uow.blobs.read(path, row["content_hash"])
    except ArtifactMissingError as error:
        _raise_interruption(uow, error)
        return Finding("unreadable-file", path, f"{name}: {error}")
    except ArtifactLoadError as error:
        if uow.blobs.matches_own_name(path) or _is_whole_for_another(uow, row):
            return Finding("bad-hash", name, f"{path} is whole, and its row has another hash: {error}")
        return Finding("damaged-file", path, f"{name}: {error}", "move the file to artifacts/.quarantine")
    if has_other_size:
        return Finding(
            "wrong-size",
            name,
            f"its size is {row['size_bytes']}, and its file is whole with {size} bytes",
            "write down the right size",
        )
    return None


def _is_whole_for_another(uow: UnitOfWork, row: Row) -> bool:
    """Tell whether the hash of the file is right in another row of the same file."""
    hashes = {
        other["content_hash"]
        for other in uow.artifacts.all()
        if normalize(other["artifact_path"]) == normalize(row["artifact_path"])
    }
    for content_hash in hashes - {row["content_hash"]}:
        try:
            uow.blobs.read(row["artifact_path"], content_hash)
        except ArtifactLoadError:
            continue
        return True
    return False


def _consequence(users: list[str]) -> str:
    if not users:
        return "nothing uses it"
    more = f" and {len(users) - 5} more" if len(users) > 5 else ""
    return f"it is used by {', '.join(users[:5])}{more}"


def _use(chain: Row, row: Row) -> str:
    folds = _folds_with(chain, row["artifact_id"])
    attached = chain["attachments"] if isinstance(chain.get("attachments"), dict) else {}
    roles = [f"as its {role}" for role, item in attached.items() if item == row["artifact_id"]]
    where = f"fold {', '.join(folds)}" if folds else ", ".join(roles) or "every fold"
    return f"chain {chain['chain_id']} ({where})"


def _folds_with(chain: Row, artifact_id: str) -> list[str]:
    """Return the folds of a chain that use an artifact; an empty list if all folds share it."""
    folds = chain["fold_artifacts"] if isinstance(chain.get("fold_artifacts"), dict) else {}
    parts: dict[str, Row] = {
        fold: {"steps": [], "shared_artifacts": {}, "fold_artifacts": [entry]} for fold, entry in folds.items()
    }
    return [fold for fold, part in parts.items() if artifact_id in artifact_ids(part)]


def _contents(uow: UnitOfWork) -> Iterator[Finding]:
    for name in uow.other_contents:
        yield Finding("other-content", name, f"it does not hold what it held when the backup was made; {RESTORE}")


def _values(uow: UnitOfWork, table: str) -> Iterator[Finding]:
    for key, problem in uow.integrity.unreadable(table):
        yield Finding("unreadable-value", f"{table} {key}", f"{problem}; {RESTORE}")
