"""The fitted objects of one chain, ready to predict.

See docs/decisions/0005.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from ..errors import ChainInputError, ChainReplayError, InvalidInputError, StoreError
from . import inference
from .domain import Domain, distances, leverage, outside_range, summary
from .probabilities import PredictionError, as_columns
from .training_columns import TrainedOn

NOTHING_KNOWN = TrainedOn()


@dataclass(frozen=True)
class FittedChain:
    """The fitted objects of a chain, in the order in which they are applied.

    Attributes
    ----------
    name : str
        How error messages name it.
    shared : list of (str, object)
        The objects that all folds share.
    folds : dict of str to list of (str, object)
        The other objects of each fold, the model last.
    trained_on : TrainedOn
        The columns of training, by which those of a frame are found, and how the folds are combined.
    domain : dict of str to ndarray, StoreError, or None
        What the calibration covers, as `distances` takes it; why it cannot be loaded; or None if it is not known.
    residuals : dict of str to ndarray, StoreError, or None
        The residuals of samples that its folds held out, as `intervals_of` takes them, or why not; None if they are
        not with the chain.
    together : FittedChain or None
        The same chain with the models of all its folds, where these are others and were loaded, too.
    domain_steps : list of (str, object) or None
        What the domain's X comes out of, after `shared`; None where that is what the first of `folds` has, too.
    """

    name: str
    shared: list[inference.Labelled]
    folds: dict[str, list[inference.Labelled]]
    # On the class, too: estimators were pickled before there was such a field.
    trained_on: TrainedOn = NOTHING_KNOWN
    domain: Domain | StoreError | None = None
    residuals: dict[str, Any] | StoreError | None = None
    together: FittedChain | None = None
    domain_steps: list[inference.Labelled] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # What is made of these when it first predicts is made anew.
        return {name: value for name, value in self.__dict__.items() if name != "_operators"}

    @property
    def models(self) -> list[Any]:
        """The folds' models."""
        return [fold[-1][1] for fold in self.folds.values()]

    def predict(self, X: Any, wavelengths: Any = None, *, resample: bool = False) -> Any:
        """Predict; see `inference.predict`, and `TrainedOn.arrays` for `resample`.

        What an object refuses raises `ChainInputError`; one that does not work here raises `ChainReplayError`.
        """
        return self._run("predict", X, wavelengths, resample=resample)

    def predict_proba(self, X: Any, wavelengths: Any = None, *, resample: bool = False) -> Any:
        """Return class probabilities; see `inference.Operators`."""
        return self._run("predict_proba", X, wavelengths, resample=resample)

    def predict_folds(self, X: Any, wavelengths: Any = None, *, resample: bool = False) -> list[Any]:
        """Return the numbers that each fold predicts, of shape (n_samples, n_targets); parameters as for `predict`."""
        of_folds: list[Any] = self._run("predict_and_look", X, wavelengths, resample=resample)[1]
        return of_folds

    def predict_frame(self, X: Any, wavelengths: Any = None, *, resample: bool = False) -> pl.DataFrame:
        """Return predictions, and how far they can be believed; see `WorkspaceStore.predict_frame`."""
        if isinstance(self.domain, StoreError):
            raise self.domain
        domain = self.domain
        told: dict[str, Any] = {}

        def look(model: Any, seen: Any) -> None:
            told["seen"], told["leverage"] = seen, leverage(model, seen)

        y, of_folds = self._run("predict_and_look", X, wavelengths, look, resample=resample)
        columns = named("predicted", as_columns(y))
        if len(of_folds) > 1:
            columns |= named("spread", np.std(of_folds, axis=0, ddof=1))
        if told["leverage"] is not None:
            columns["leverage"] = told["leverage"]
        if domain is not None and self.domain_steps is not None:
            # A fold may select other columns than the final model, whose domain it is, or turn them in another way.
            whole = replace(self, shared=[*self.shared, *self.domain_steps], folds={})
            told["seen"] = whole._run("transform", X, wavelengths, resample=resample)
        if domain is not None and np.shape(told["seen"])[1:] == domain["mean"].shape:
            far = distances(domain, told["seen"])
            columns |= {"t2": far.t2, "q": far.q, "outside_envelope": far.outside_envelope, "outside_x": far.outside}
        if of_folds and self.trained_on.y_range is not None:
            columns["outside_y"] = outside_range(as_columns(y), self.trained_on.y_range)
        return pl.DataFrame(columns)

    def _run(self, method: str, X: Any, wavelengths: Any, *more: Any, resample: bool) -> Any:
        try:
            X, wavelengths = self.trained_on.arrays(X, wavelengths, resample=resample)
        except InvalidInputError as error:
            raise ChainInputError(f"{self.name}: {error}") from error
        try:
            return getattr(self._operators, method)(X, wavelengths, *more)
        except inference.OutputError as error:
            raise ChainReplayError(f"{self.name}: {error}") from error
        except PredictionError as error:
            raise ChainInputError(
                f"{self.name}: {error}; give X with the columns that the chain was trained on"
            ) from error
        except Exception as error:  # Objects of another version, or damaged ones, raise what they like.
            raise ChainReplayError(
                f"{self.name} has a fitted object that does not work here: {type(error).__name__}: {error}; "
                "install the versions of its packages that it was fitted with"
            ) from error

    @cached_property
    def _operators(self) -> inference.Operators:
        return inference.Operators(self.shared, self.folds, votes=self.trained_on.votes)


def warning_of(frame: pl.DataFrame) -> str | None:
    """Return in one sentence how many rows of `predict_frame` are unlike the calibration; see `domain.summary`."""
    return summary(*(frame[name].to_numpy() if name in frame else None for name in ("outside_x", "outside_y")))


def named(name: str, values: Any) -> dict[str, Any]:
    """Return the columns of an array under a name, or under numbered ones if there are several."""
    names = [name] if values.shape[1] == 1 else [f"{name}_{place}" for place in range(values.shape[1])]
    return dict(zip(names, values.T, strict=True))


FittedChain.__module__ = "nirs4all_store.fitted"  # Pickles have this name, and so has who trusts it.
