"""Adds fitted objects of nirs4all by their bytes: ids whose bytes are equal are one object here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath

from ...artifacts import CODECS, Trust, checked_hash, codec, sha256
from ...errors import ArtifactCorruptError, ArtifactMissingError, InvalidInputError
from ...storage import UnitOfWork
from ..samples import Samples
from .bundles import ENDINGS
from .report import ImportReport
from .source import Source

FORMATS = {name: name for name in CODECS} | {"sklearn_pickle": "pickle", "pytorch_pickle": "pickle"}
"""Their names of formats, and ours."""

Writing = Callable[[], AbstractContextManager[UnitOfWork]]
Contents = dict[str, bytes]
"""What is to be written, by the name of its file, once all rows were accepted."""


@dataclass
class Import:
    """One import, while it goes on.

    Attributes
    ----------
    source : Source
    writing : callable
        Opens a unit of work.
    trust : True, list of str or None
        What the fitted objects may import when they are loaded.
    spectra : dict of str to Samples
        The spectra of datasets by name, hash or run: training first, then test.
    report : ImportReport
    first_users : dict of str to str
        The pipeline whose chain was the first to name an artifact.
    """

    source: Source
    writing: Writing
    trust: Trust
    spectra: dict[str, Samples]
    report: ImportReport
    first_users: dict[str, str]


def add_object(uow: UnitOfWork, job: Import, contents: Contents, ids: dict[str, str], artifact_id: str) -> str:
    """Add an object that a row of nirs4all names; return our id.

    Parameters
    ----------
    uow : UnitOfWork
    job : Import
    contents : dict of str to bytes
        Gets its bytes.
    ids : dict of str to str
        Our ids of those that were added before, in this transaction.
    artifact_id : str
        Theirs.

    Raises
    ------
    ArtifactMissingError, ArtifactCorruptError
        Its file is gone, or has other bytes.
    InvalidInputError
        Nothing here loads its format.
    """
    row, content = job.source.artifacts.get(artifact_id, {}), job.source.content(artifact_id)
    format = row.get("format") or ENDINGS.get(PurePosixPath(row["artifact_path"]).suffix)
    if format not in FORMATS:
        raise InvalidInputError(f"its {row.get('operator_class')} is kept as {format!r}, which nothing here loads")
    described = (FORMATS[format], row.get("operator_class"), row.get("artifact_type"))
    key = f"{described[0]}:{sha256(content)}"
    if key not in ids:
        ids[key] = _add(uow, job, contents, content, *described)
    return ids[key]


def _add(
    uow: UnitOfWork,
    job: Import,
    contents: Contents,
    content: bytes,
    format: str,
    operator_class: str | None,
    artifact_type: str | None,
) -> str:
    digest = sha256(content)
    known = uow.artifacts.path_of(digest, format)
    path = known or uow.blobs.path_for(digest, codec(format).extension)
    artifact_id = uow.artifacts.add(path, digest, operator_class, artifact_type, format, len(content), None, job.trust)
    uow.artifacts.trust_also([artifact_id], job.trust or [])
    contents[path] = content
    if known is None:
        job.report.rows["artifacts"] += 1
    return artifact_id


def add_lost_files(
    uow: UnitOfWork, job: Import, contents: Contents, kinds: set[tuple[str, str]], *, all_files: bool = False
) -> list[str]:
    """Add the files of some types and classes that no row of nirs4all names, or all of them; return their ids.

    nirs4all up to 1.0 names objects by the pipeline's name and steps, and ignores an object whose name it has: what a
    second run of the same name fits lies there without a row, until another run writes the same bytes.
    """
    paths = job.source.files() if all_files else job.source.files_without_rows()
    found = []
    for path in paths:
        for kind, operator_class in kinds:
            if path.name.startswith(f"{kind}_{operator_class}_") and path.suffix in ENDINGS:
                described = (ENDINGS[path.suffix], operator_class, kind)
                found.append(_add(uow, job, contents, job.source.file(path), *described))
    return found


def add_unused_objects(uow: UnitOfWork, job: Import) -> None:
    """Add objects that no chain here names; `gc_artifacts` treats them as any that is saved and not used."""
    contents: Contents = {}
    for artifact_id, row in job.source.artifacts.items():
        try:
            digest = row.get("content_hash")
            if digest and uow.artifacts.get_by_hash(checked_hash(digest, ArtifactCorruptError)) is not None:
                continue
            add_object(uow, job, contents, {}, artifact_id)
        except (ArtifactMissingError, ArtifactCorruptError):
            job.report.not_carried["artifacts whose file is gone or was changed"] += 1
        except InvalidInputError:
            job.report.not_carried[f"artifacts in the format {row.get('format')!r}, which nothing here loads"] += 1
    if not job.report.is_dry_run:
        uow.blobs.put_many(contents)
