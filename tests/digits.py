"""How far two results of linear algebra may lie apart that differ in nothing but how it was computed.

A test asks for equal bits only where the objects, the shape of X, how it lies in memory, the order of its rows and the
number of threads are the same: then BLAS does the same again. Everywhere else it is this bound.
"""

from typing import Any

import numpy as np

UNIT = np.finfo(float).eps / 2  # The most that one operation is off, relative to what it gives.


def assert_same_sums(found: Any, expected: Any, *, terms: int, size: float) -> None:
    """Assert that two sums are the same but for the order in which BLAS has added their products.

    That order depends on the number of rows, on how the array lies, on threads, and on the processor's kernel. A
    product goes through at most `terms` operations until it is in the sum, each off by a factor within 1 - u and 1 + u,
    so that in any order, fused or not, the sum is within gamma = terms * u / (1 - terms * u) times the sum of the
    products' magnitudes of what it is exactly; and two such sums are within twice that of one another.

    Parameters
    ----------
    terms : int
        How many operations a product goes through at most: the number of products in a sum, one more for the intercept,
        one more for each model that a mean is taken of.
    size : float
        The largest sum of the products' magnitudes, the intercept among them, in the unit of what is summed.
    """
    gamma = terms * UNIT / (1 - terms * UNIT)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * gamma * size)
