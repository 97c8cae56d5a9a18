"""Stored chains as fitted scikit-learn estimators."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ..errors import FrozenChainError
from . import inference
from .fitted import FittedChain
from .fold_intervals import intervals_of
from .prediction_table import PredictionTable, predict_table
from .probabilities import all_classes


class _StoredChain(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What the two estimators share.

    Parameters
    ----------
    chain : FittedChain
        As `WorkspaceStore.load_chain` or `load_bundle` gives it.
    """

    def __init__(self, chain: FittedChain) -> None:
        self.chain = chain

    def fit(self, X: Any, y: Any = None) -> NoReturn:
        """Refuse: a stored chain stays as it was fitted.

        Raises
        ------
        FrozenChainError
            Always.
        """
        raise FrozenChainError(
            f"{self.chain.name} is fitted and stays so; wrap it in sklearn.frozen.FrozenEstimator where something "
            "insists on fitting it, or train a new chain"
        )

    def predict(self, X: Any, wavelengths: Any = None, *, resample: bool = False) -> Any:
        """Predict as `WorkspaceStore.replay_chain` does.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or frame
            The columns of a frame are found by the names or wavelengths of training, where the chain knows them.
        wavelengths : array of shape (n_features,), optional
        resample : bool
            Interpolate spectra of other wavelengths to those of training.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        ChainInputError
            A fitted object refused X, or a frame lacks columns of training.
        ChainReplayError
            A step or model gives another number of rows than it got.
        """
        return self.chain.predict(X, wavelengths, resample=resample)

    def predict_table(
        self,
        data: Any,
        *,
        keep: str = "ids",
        resample: bool = False,
        average: str | None = None,
        interval: float | None = None,
    ) -> PredictionTable:
        """Predict each row of a file or frame, beside what names it; see `WorkspaceStore.predict_table`.

        `interval` is for estimators of bundles that have what intervals need; see `load_bundle`.
        """
        intervals = None if interval is None else intervals_of(self.chain, interval)
        return predict_table(self.chain, data, keep=keep, resample=resample, average=average, intervals=intervals)

    def predict_frame(
        self, X: Any, wavelengths: Any = None, *, resample: bool = False, interval: float | None = None
    ) -> pl.DataFrame:
        """Predict as `WorkspaceStore.predict_frame` does, with the models that this estimator has.

        `interval` is for estimators of bundles that have what intervals need; see `load_bundle`.
        """
        intervals = None if interval is None else intervals_of(self.chain, interval)
        frame = self.chain.predict_frame(X, wavelengths, resample=resample)
        return frame if intervals is None else intervals.beside(frame, X, wavelengths, resample=resample)

    def __sklearn_clone__(self) -> Self:
        """Cloning leaves what is fitted, as scikit-learn's FrozenEstimator does."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Say so to `check_is_fitted`."""
        return True


class ChainRegressor(RegressorMixin, _StoredChain):  # type: ignore[misc]  # scikit-learn ships no types
    """A stored chain that predicts numbers: `predict`, `score`."""


class ChainClassifier(ClassifierMixin, _StoredChain):  # type: ignore[misc]  # scikit-learn ships no types
    """A stored chain that predicts classes: `predict`, `predict_proba`, `classes_`, `score`."""

    @property
    def classes_(self) -> Any:
        """The sorted classes that any fold has seen, as its models have them: several targets may have a list."""
        return all_classes(self.chain.models)

    def predict_proba(self, X: Any, wavelengths: Any = None, *, resample: bool = False) -> Any:
        """Return class probabilities, for one row as for many.

        A chain of one fold returns the probabilities of its model. A chain of several folds returns their mean, or each
        class's share of the votes if a model has no probabilities.

        Parameters
        ----------
        X, wavelengths, resample
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or as the models give those of several targets or labels
        """
        return self.chain.predict_proba(X, wavelengths, resample=resample)


# Pickles have this name, and so has who trusts them.
ChainRegressor.__module__ = ChainClassifier.__module__ = "nirs4all_store.estimator"


def as_estimator(chain: FittedChain) -> ChainRegressor | ChainClassifier:
    """Return a `ChainClassifier` if the chain's models predict classes, else a `ChainRegressor`."""
    is_classifier = all(inference.is_classifier(model) for model in chain.models)
    return ChainClassifier(chain) if is_classifier else ChainRegressor(chain)
