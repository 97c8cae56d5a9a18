"""Models that end the process that trains them: in a module of their own, as each worker imports what it stands in."""

import os
import signal
from typing import Any

from sklearn.linear_model import Ridge


class Killing(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any) -> "Killing":
        if self.alpha == 666:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)  # type: ignore[no-any-return]


class Leaving(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any) -> "Leaving":
        raise SystemExit(3)
