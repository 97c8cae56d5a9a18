"""The fitted objects of one chain, ready to predict.

See docs/decisions/0005.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import ChainInputError, ChainReplayError, InvalidInputError
from . import inference
from .probabilities import PredictionError
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
    """

    name: str
    shared: list[inference.Labelled]
    folds: dict[str, list[inference.Labelled]]
    # On the class, too: estimators were pickled before there was such a field.
    trained_on: TrainedOn = NOTHING_KNOWN

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

    def _run(self, method: str, X: Any, wavelengths: Any, *, resample: bool) -> Any:
        try:
            X, wavelengths = self.trained_on.arrays(X, wavelengths, resample=resample)
        except InvalidInputError as error:
            raise ChainInputError(f"{self.name}: {error}") from error
        try:
            return getattr(self._operators, method)(X, wavelengths)
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


FittedChain.__module__ = "nirs4all_store.fitted"  # Pickles have this name, and so has who trusts it.
