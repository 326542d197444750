"""regress(): multinomial logistic regression, the best linear classifier on features.

scikit-learn's answer, by SciPy's L-BFGS as there; importing scikit-learn alone takes as long as all the fits on a few
hundred photographs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Linear = tuple[Floats, Floats]  # kernel (features, classes) and bias (classes,)

TOLERANCE = 1e-4  # of the largest part of the gradient, as scikit-learn has it


def regress(
    features: Floats,
    labels: npt.NDArray[Any],
    classes: int,
    strength: float,
    *,
    weigh: Floats | None = None,
    start: Linear | None = None,
    steps: int = 300,
) -> Linear:
    """The kernel and bias with the least cross-entropy, the kernel kept small.

    features: float32 (n, features), all of about one scale; labels: int (n,), each below `classes`. strength: what the
    cross-entropy weighs against the kernel, scikit-learn's C; the smaller, the more regularised. weigh: float32 (n,),
    how much each example counts. start: where to begin, such as the answer for another strength. steps: of L-BFGS, at
    most; what comes out then is near enough wherever other pictures decide.
    """
    from scipy.optimize import minimize

    count, width = features.shape
    share = np.full(count, 1 / count, np.float32) if weigh is None else weigh / weigh.sum()
    total = float(count if weigh is None else weigh.sum())
    # Two classes have one column in scikit-learn, twice what each of two equal and opposite ones has.
    penalty = (2 if classes == 2 else 1) / (strength * total)
    true = np.zeros((count, classes), np.float32)
    true[np.arange(count), labels] = 1

    def loss(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        kernel = values[: width * classes]
        logits = features @ kernel.reshape(width, classes).astype(np.float32) + values[-classes:].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(axis=1)
        entropy = np.log(sums) - (logits * true).sum(axis=1)
        off = (powers / sums[:, None] - true) * share[:, None]
        slope = (features.T @ off).ravel() + penalty * kernel
        return float(entropy @ share) + penalty / 2 * float(kernel @ kernel), np.concatenate([slope, off.sum(axis=0)])

    begin = np.zeros((width + 1) * classes) if start is None else np.concatenate([part.ravel() for part in start])
    options = {"maxiter": steps, "maxls": 50, "gtol": TOLERANCE, "ftol": 64 * np.finfo(np.float64).eps}
    found = minimize(loss, begin, method="L-BFGS-B", jac=True, options=options).x.astype(np.float32)
    return found[:-classes].reshape(width, classes), found[-classes:]


def class_shares(features: Floats, linear: Linear) -> Floats:
    """float32 (n, classes): what a regression answers; rows sum to 1."""
    kernel, bias = linear
    logits = features @ kernel + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found
