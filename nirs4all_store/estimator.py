"""A stored chain as a scikit-learn estimator that is fitted already."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from . import inference
from .errors import FrozenChainError
from .fitted import FittedChain


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

    def predict(self, X: Any, wavelengths: Any = None) -> Any:
        """Predict as `WorkspaceStore.replay_chain` does.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        wavelengths : array of shape (n_features,), optional

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        ChainInputError
            A fitted object refused X.
        """
        return self.chain.predict(X, wavelengths)

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
        """The sorted classes that any fold has seen; a list of such arrays for several targets."""
        classes = inference.all_classes(self.chain.models)
        return classes[0] if len(classes) == 1 else classes

    def predict_proba(self, X: Any, wavelengths: Any = None) -> Any:
        """Return the folds' mean class probabilities, or their share of votes where a model has none.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        wavelengths : array of shape (n_features,), optional

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or a list of such for several targets
        """
        return self.chain.predict_proba(X, wavelengths)


def as_estimator(chain: FittedChain) -> ChainRegressor | ChainClassifier:
    """Return the estimator that fits what the chain's models predict."""
    is_classifier = all(inference.is_classifier(model) for model in chain.models)
    return ChainClassifier(chain) if is_classifier else ChainRegressor(chain)
