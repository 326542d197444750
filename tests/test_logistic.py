"""The regression behind every head is scikit-learn's, found sooner."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from iconoclass.training.logistic import TOLERANCE, class_shares, regress


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("strength", [0.001, 0.03, 1.0])
@pytest.mark.parametrize("weighs", [False, True])
def test_it_answers_as_scikit_learn_does(classes: int, strength: float, weighs: bool) -> None:
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes, 300)
    features = (random.normal(size=(classes, 60))[labels] + 2 * random.normal(size=(300, 60))).astype(np.float32)
    weigh = random.uniform(0.1, 3.0, 300).astype(np.float32) if weighs else None
    other = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=300).fit(features, labels, weigh)
    found = regress(features, labels, classes, strength, weigh=weigh)
    # Two equal and opposite columns take other steps than the one that scikit-learn has for two classes.
    allowed = 2e-2 if classes == 2 else 1e-3
    assert np.abs(class_shares(features, found) - other.predict_proba(features)).max() < allowed


def test_it_goes_on_from_an_answer() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(200) % 4
    features = (random.normal(size=(4, 30))[labels] + random.normal(size=(200, 30))).astype(np.float32)
    whole = regress(features, labels, 4, 0.1)
    shorter = regress(features, labels, 4, 0.1, steps=3)
    on = regress(features, labels, 4, 0.1, start=whole, steps=3)
    assert np.allclose(class_shares(features, on), class_shares(features, whole), atol=2e-3)
    assert not np.allclose(class_shares(features, shorter), class_shares(features, whole), atol=2e-3)


def test_a_class_without_examples_is_not_believed() -> None:
    features = np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32)
    labels = np.arange(90) % 2
    assert class_shares(features, regress(features, labels, 3, 1.0))[:, 2].max() < 0.02
