"""Plans the replay of a stored chain: which artifacts are applied, in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ChainReplayError, InvalidInputError, StoreError
from ..validation import checked_text
from .composites import Part, build, ids_of
from .schema import (
    APPLIES_TO,
    MEMBERS,
    SOURCE_MAP,
    WAYS,
    artifact_ids,
    as_ids,
    check_order,
    check_predict_fold,
    checked_artifacts,
    checked_attachments,
    checked_steps,
    is_fitted_per_fold,
    is_pruned,
)

Row = dict[str, Any]

MEAN = "mean"
DAMAGED = "its row is damaged: restore it from a backup, or train and save it again"


@dataclass(frozen=True)
class Plan:
    """Which artifacts a chain applies, in which order.

    Attributes
    ----------
    shared : list of (str, part)
        A label for messages, and an artifact id or what is put together of several; see `composites`.
    folds : dict of str to list of (str, part)
        The same for each fold, the model last.
    predict_fold : str or None
        The fold that predicts alone, if nothing else is asked for: the one of the final model.
    """

    shared: list[tuple[str, Part]]
    folds: dict[str, list[tuple[str, Part]]]
    predict_fold: str | None

    @property
    def ids(self) -> list[str]:
        """Every artifact that is applied, each once."""
        entries = [*self.shared, *(entry for fold in self.folds.values() for entry in fold)]
        return list(dict.fromkeys(artifact_id for _, part in entries for artifact_id in ids_of(part)))

    def built(self, load: Callable[[str], Any]) -> tuple[list[tuple[str, Any]], dict[str, list[tuple[str, Any]]]]:
        """Return `shared` and `folds` with the objects themselves; `load` returns that of an artifact id."""
        shared = [(label, build(part, load)) for label, part in self.shared]
        return shared, {
            fold: [(label, build(part, load)) for label, part in entries] for fold, entries in self.folds.items()
        }

    def chosen(self, folds: str | None = None) -> Plan:
        """Return the plan with those folds alone that are to predict.

        Parameters
        ----------
        folds : str, optional
            The name of a fold, as the chain has it ("fold_0") or as its predictions have it ("0", "final"). "mean": all
            folds together, without `predict_fold`. None: `predict_fold`, or all folds together if there is none.

        Raises
        ------
        InvalidInputError
            There is no such fold.
        """
        wanted = self.predict_fold if folds is None else checked_text(folds, "folds")
        if folds == MEAN or wanted is None:
            names = [fold for fold in self.folds if fold != self.predict_fold]
        else:
            known = {fold.removeprefix("fold_"): fold for fold in self.folds} | {fold: fold for fold in self.folds}
            names = [known[wanted]] if wanted in known else []
        if not names and folds == MEAN:
            raise InvalidInputError(
                f"the chain has the final model {self.predict_fold!r} alone, and none of its folds; train it again "
                "with keep='all' to have their models, too"
            )
        if not names:
            raise InvalidInputError(
                f"the chain's folds are {[*self.folds]}, and folds={folds!r} asks for others; name one of them, or "
                "give None"
            )
        return replace(self, folds={fold: self.folds[fold] for fold in names})

    def domain_steps(self, chosen: Plan) -> list[tuple[str, Part]] | None:
        """Return what the X of the chain's domain comes out of; None where the first of the chosen folds has the same.

        It is that of the final model, or else of the first fold; see `training.domains`.
        """
        own, first = (next(iter(plan.folds.values()))[:-1] for plan in (self.chosen(), chosen))
        return None if own == first else own


def plan_replay(chain: Row) -> Plan:
    """Return which artifacts the replay of a chain applies, in order.

    Parameters
    ----------
    chain : dict
        As `ChainRepo.get` gives it; `refits` has the ids of chains that predict in its place.

    Raises
    ------
    ChainReplayError
        It was pruned, it has no model, a step that transforms X has nothing to do it with, an object belongs to no
        step, or it is damaged.
    """
    if is_pruned(chain):
        final = " or ".join(chain.get("refits") or [])
        raise ChainReplayError(
            f"chain {chain['chain_id']} was pruned: its scores and predictions are kept, and its fitted objects are "
            f"not; {f'predict with its final model, chain {final}' if final else 'train it again to predict with it'}"
        )
    found = _planned(chain)
    own = as_ids((chain["shared_artifacts"] or {}).get(str(chain["model_step_idx"])))
    if not {*own} <= {*found.ids}:
        raise ChainReplayError(
            f"chain {chain['chain_id']}: its step {chain['model_step_idx']} is the model, which fold_artifacts names, "
            f"and shared_artifacts gives it {own} as well; {DAMAGED}"
        )
    return found


def _planned(chain: Row) -> Plan:
    try:
        planned = _plan(chain)
        for artifact_id in planned.ids:
            checked_text(artifact_id, "an artifact id")
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # Its row holds what no chain has.
        why = str(error) if isinstance(error, StoreError) else f"its steps or artifacts are not a chain's ({error!r})"
        raise ChainReplayError(
            f"chain {chain.get('chain_id')} is damaged: {why}; restore it from a backup, or train and save it again"
        ) from error
    return planned


def _plan(chain: Row) -> Plan:
    shared_artifacts = chain["shared_artifacts"] or {}
    _check_each_belongs_to_a_step(chain, shared_artifacts)
    before_model = sorted(
        (step for step in chain["steps"] if step["step_idx"] < chain["model_step_idx"]),
        key=lambda step: int(step["step_idx"]),
    )
    of_y = [
        item
        for step in before_model
        if step.get(APPLIES_TO) == "y"
        for item in as_ids(shared_artifacts.get(str(step["step_idx"]))) or as_ids(step.get("artifact_id"))
    ]
    before_model = [step for step in before_model if step.get(APPLIES_TO) != "y"]
    predict_fold = chain.get("predict_fold")
    check_predict_fold(predict_fold, chain["fold_artifacts"] or {})
    checked_attachments(chain.get("attachments"))
    return Plan(
        _shared_entries(before_model, shared_artifacts),
        _fold_entries(chain, before_model, shared_artifacts, of_y),
        predict_fold,
    )


def _check_each_belongs_to_a_step(chain: Row, shared_artifacts: Row) -> None:
    steps = {str(step["step_idx"]) for step in chain["steps"]}
    strangers = sorted(shared_artifacts.keys() - steps - {SOURCE_MAP, str(chain["model_step_idx"])})
    if strangers:
        raise ChainReplayError(
            f"chain {chain['chain_id']}: shared_artifacts has objects of the steps {strangers}, which it has not; "
            f"{DAMAGED}"
        )


def _ways(step: Row, shared_artifacts: Row) -> list[Row]:
    """Return the ways in which a step transforms X side by side: its own, or one for each source of spectra."""
    sources = (shared_artifacts.get(SOURCE_MAP) or {}).get(str(step["step_idx"])) or {}
    if len(sources) > 1:
        return [{"source": int(source), "artifacts": sources[source]} for source in sorted(sources, key=int)]
    return step.get(WAYS) or []


def _shared_entries(before_model: list[Row], shared_artifacts: Row) -> list[tuple[str, Part]]:
    entries: list[tuple[str, Part]] = []
    done: set[str] = set()
    for step in before_model:
        idx = str(step["step_idx"])
        shared = as_ids(shared_artifacts.get(idx))
        # nirs4all 0.7 lists under a step's `artifact_ids` what belongs to other models of the pipeline.
        own = as_ids(step.get("artifact_id"))
        ways = _ways(step, shared_artifacts)
        if ways and idx in done:
            continue
        if ways:
            part = _side_by_side(step, ways)
            if not set(shared) <= set(ids_of(part)):
                raise ChainReplayError(
                    f"{_label(step)} has ways with the artifacts {ids_of(part)}, shared_artifacts[{idx!r}] {shared}; "
                    "save it again"
                )
            entries.append((_label(step), part))
            done.add(idx)
            continue
        if shared and not set(own) <= set(shared):
            raise ChainReplayError(
                f"{_label(step)} names the artifact {own}, shared_artifacts[{idx!r}] only {shared}; save it again"
            )
        if shared:  # Several steps may share an index: what is under it is applied once.
            ids = [] if idx in done else shared
            done.add(idx)
        else:
            ids = own
        entries += [(_label(step), artifact_id) for artifact_id in ids]
    return entries


def _side_by_side(step: Row, ways: list[Row]) -> Part:
    found = []
    for way in ways:
        own: Row = {"steps": [(f"{_label(step)}, artifact {item}", item) for item in as_ids(way.get("artifacts"))]}
        own |= {"source": way["source"]} if "source" in way else {}
        found.append(own | ({"models": as_ids(way["models"])} if way.get("models") else {}))
    return {"side_by_side": found}


def _fold_entries(
    chain: Row, before_model: list[Row], shared_artifacts: Row, of_y: list[str]
) -> dict[str, list[tuple[str, Part]]]:
    name, model_idx = f"chain {chain['chain_id']}", chain["model_step_idx"]
    folds = {fold: as_ids(entry) for fold, entry in (chain["fold_artifacts"] or {}).items()}
    if not folds:  # One model without folds.
        models = [step for step in chain["steps"] if step["step_idx"] == model_idx]
        own = [item for step in models for item in as_ids(step.get("artifact_id"))]
        folds = {"all": as_ids(shared_artifacts.get(str(model_idx))) or own}
    per_fold = [step for step in before_model if is_fitted_per_fold(step, shared_artifacts)]
    for fold, ids in folds.items():
        if not ids:
            raise ChainReplayError(f"{name} has no model for fold {fold}; train and save it again")
        if len(ids) <= len(per_fold):
            raise ChainReplayError(
                f"{name}: {_label(per_fold[len(ids) - 1])} is not stateless, but none of its fitted objects is stored "
                f"for fold {fold}; train and save the chain again"
            )
    label = f"model {chain['model_class']}"
    models = [step for step in chain["steps"] if step["step_idx"] == model_idx and step.get(MEMBERS)]
    members = models[0][MEMBERS] if models else {}
    return {
        fold: [*((f"artifact {item}", item) for item in ids[:-1]), (label, _model(ids[-1], members, of_y))]
        for fold, ids in folds.items()
    }


def _model(artifact_id: str, members: Row, of_y: list[str]) -> Part:
    """Return the part that predicts: the model, with what transforms y."""
    model: Part = {"member": members["model"], "of": artifact_id} if "model" in members else artifact_id
    y: list[Part] = [*of_y, *([{"member": members["y"], "of": artifact_id}] if "y" in members else [])]
    return {"model": model, "y": y} if y else model


def _label(step: Row) -> str:
    return f"step {step['step_idx']} ({step.get('operator_class')})"


def problem_of(chain: Row) -> str | None:
    """Say why a chain cannot replay as it is stored, or could not be saved like that; None for a sound one.

    One that was pruned is sound.
    """
    if is_pruned(chain):
        return None
    try:
        plan_replay(chain)
        shared = checked_artifacts(chain["shared_artifacts"], "shared_artifacts")
        checked_artifacts(chain["fold_artifacts"], "fold_artifacts")
        check_order(checked_steps(chain["steps"]), chain["model_step_idx"], shared)
    except StoreError as error:
        return str(error)
    return None


def check_nothing_is_left_out(chain: Row) -> None:
    """Refuse a chain that names artifacts which its replay would not apply.

    Raises
    ------
    InvalidInputError
        It does; the message names them. A chain that cannot replay at all says why when it is replayed.
    """
    try:
        applied = _planned(chain).ids
    except ChainReplayError:
        return
    # What is attached is not applied: it says something about the predictions.
    left_out = [item for item in artifact_ids(chain | {"attachments": None}) if item not in applied]
    if left_out:
        raise InvalidInputError(
            f"a replay would never apply {left_out}, which the chain names: a step before the model, step "
            f"{chain['model_step_idx']}, gives its own under artifact_id or shared_artifacts, a model under "
            "fold_artifacts, and nothing comes after the model"
        )
