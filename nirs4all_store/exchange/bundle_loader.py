"""Loads a bundle (`.n4a`) to predict with, or lists what is in it, without a workspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..artifacts import Trust, checked_trust, codec, codecs
from ..call_boundary import public
from ..chains import (
    DOMAIN,
    MEAN,
    RESIDUALS,
    ChainClassifier,
    ChainRegressor,
    FittedChain,
    Plan,
    TrainedOn,
    as_estimator,
    checked_domain,
    checked_residuals,
    composites,
    plan_replay,
    probabilities,
)
from ..errors import ArtifactLoadError, InvalidInputError, UntrustedArtifactError
from ..filesystem import checked_path
from .bundle_reader import Bundle, Row, read_bundle


@public
def load_bundle(
    path: str | Path, *, trusted: Any = False, folds: str | None = None
) -> ChainRegressor | ChainClassifier:
    """Load a bundle (`.n4a`) as a fitted scikit-learn estimator; no workspace is needed.

    Parameters
    ----------
    path : path-like
    trusted : bool or list of types
        Unpickling runs code that the file names. True: you trust whoever made the file. A list of types, or of their
        full names: the file may import these and nothing else. Types that skops trusts by itself need nothing.
    folds : str, optional
        Which models predict, as for `WorkspaceStore.replay_chain`; nothing else is loaded. By default those of the
        folds are loaded, too, where the bundle can give intervals.

    Returns
    -------
    ChainRegressor or ChainClassifier
        With `predict`, and for classifiers `predict_proba` and `classes_`.

    Raises
    ------
    UntrustedArtifactError
        An object would import more than is trusted; nothing was unpickled. `inspect_bundle` lists what each imports.
    BundleError
        The file is not a bundle, is damaged, or has a newer format.
    InvalidInputError
        The chain has no such folds.
    """
    trust = checked_trust(trusted)
    bundle = read_bundle(checked_path(path, "path"))
    name = f"bundle {bundle.path.name}"
    plan = plan_replay(bundle.chain)
    chain = _fitted(bundle, plan, folds, trust, name)
    if folds is None and plan.predict_fold is not None and isinstance(chain.residuals, dict):
        try:
            chain = replace(chain, together=_fitted(bundle, plan, MEAN, trust, name))
        except (ArtifactLoadError, InvalidInputError, UntrustedArtifactError) as error:
            chain = replace(chain, residuals=error)
    return as_estimator(chain)


def _fitted(bundle: Bundle, plan: Plan, folds: str | None, trust: Trust, name: str) -> FittedChain:
    wanted = plan.chosen(folds)
    loaded = {item: _load(bundle, item, trust, name) for item in wanted.ids}
    try:
        shared, by_fold = wanted.built(loaded.__getitem__)
    except probabilities.PredictionError as error:
        raise ArtifactLoadError(f"{name}: {error}; the bundle is damaged: export it again") from error
    domain, residuals = (
        _attached(bundle, role, checked, trust, name)
        for role, checked in ((DOMAIN, checked_domain), (RESIDUALS, checked_residuals))
    )
    steps = plan.domain_steps(wanted) if isinstance(domain, dict) else None
    try:
        domain_steps = steps and [
            (label, composites.build(part, lambda item: _load(bundle, item, trust, name))) for label, part in steps
        ]
    except (ArtifactLoadError, UntrustedArtifactError):
        domain = domain_steps = None  # These folds predict without, and it is said that nothing tells.
    return FittedChain(name, shared, by_fold, TrainedOn.of(bundle.chain), domain, residuals, domain_steps=domain_steps)


def _attached(bundle: Bundle, role: str, checked: Callable[[Any], Any], trust: Trust, name: str) -> Any:
    """Return the arrays that the chain has in a role, or why they cannot be loaded; see `FittedChain`."""
    artifact_id = (bundle.chain["attachments"] or {}).get(role)
    if artifact_id is None:
        return None
    try:
        return checked(_load(bundle, artifact_id, trust, name))
    except (ArtifactLoadError, UntrustedArtifactError, ValueError) as error:
        return ArtifactLoadError(f"{name}, its {role}: {error}; predict needs none")


def _load(bundle: Bundle, artifact_id: str, trust: Trust, name: str) -> Any:
    row = bundle.artifacts[artifact_id]
    try:
        return codecs.load(bundle.contents[row["content_hash"]], row["format"], row["provenance"], trust)
    except UntrustedArtifactError as error:
        listed = f"`nirs4all-store show {bundle.path.name}` lists what it would load"
        raise UntrustedArtifactError(f"{name}: {error}; {listed}") from error


@dataclass(frozen=True)
class BundledObject:
    """One fitted object in a bundle.

    Attributes
    ----------
    member : str
        Its name in the ZIP.
    content_hash : str
        The SHA-256 of its bytes.
    size_bytes : int
    format, operator_class : str
        As the bundle's manifest states.
    imports : list of str or None
        The full names of the classes and functions that loading it would import; for skops, those that skops does
        not trust by itself. None: they cannot be listed without running code.
    problem : str or None
        Why they cannot be listed.
    """

    member: str
    content_hash: str
    size_bytes: int
    format: str
    operator_class: str | None
    imports: list[str] | None
    problem: str | None


@dataclass(frozen=True)
class BundleInfo:
    """What `inspect_bundle` found.

    Attributes
    ----------
    path : Path
    chain : dict
        Its steps and which artifacts they use.
    versions : dict
        The versions of Python and packages that it was made with, as its manifest states.
    content_sha256 : str
        The SHA-256 of the chain, its pipeline and scores; equal for every export of the same chain.
    has_hashes : bool
        Whether the file itself says what its bytes must be; nirs4all's own bundles do not.
    objects : list of BundledObject
    """

    path: Path
    chain: Row
    versions: Row
    content_sha256: str
    has_hashes: bool
    objects: list[BundledObject]


@public
def inspect_bundle(path: str | Path) -> BundleInfo:
    """Return what is in a bundle (`.n4a`), and what loading it would import, without running any code of it.

    Raises
    ------
    BundleError
        The file is not a bundle, is damaged, or has a newer format.
    """
    bundle = read_bundle(checked_path(path, "path"))
    objects = [_described(row, bundle.contents[row["content_hash"]]) for row in bundle.artifacts.values()]
    versions = bundle.manifest.get("versions") or {}
    return BundleInfo(bundle.path, bundle.chain, versions, bundle.content_sha256, bundle.has_hashes, objects)


def _described(row: Row, content: bytes) -> BundledObject:
    imports, problem = imports_of(row["format"], content)
    return BundledObject(
        row["member"], row["content_hash"], len(content), row["format"], row.get("operator_class"), imports, problem
    )


def imports_of(format: str, content: bytes) -> tuple[list[str] | None, str | None]:
    """Return the names that loading an object would import, or why they cannot be listed."""
    try:
        return codec(format).names(content), None
    except Exception as error:  # skops raises what it likes, too.
        return None, str(error)
