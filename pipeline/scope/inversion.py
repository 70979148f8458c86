"""Is an image a negative: logistic regression between the training images and their own negatives."""

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.scope import Inversion, Numbers
from pipeline.preprocessing.appearance import Appearance

STRENGTH = 0.01
"""Inverse of the penalty on squared weights: many columns, few cases."""

Vectors = NDArray[np.float64]


def vector(look: Appearance) -> Vectors:
    """Texture and layout of one image in a row."""
    return np.concatenate([look.texture, look.layout.ravel()])


def fit_inversion(images: Vectors, negatives: Vectors) -> Inversion:
    """Fit to vectors of training images and of their negatives, each (n, d)."""
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([images, negatives])
    mean, scale = both.mean(axis=0), np.maximum(both.std(axis=0), 1e-3)
    truth = np.repeat([0, 1], [len(images), len(negatives)])
    model = LogisticRegression(C=STRENGTH, max_iter=300).fit((both - mean) / scale, truth)
    return Inversion(
        mean=Numbers.of(mean),
        scale=Numbers.of(scale),
        weights=Numbers.of(model.coef_[0]),
        bias=float(np.float32(model.intercept_[0])),
    )


def inversion_scores(inversion: Inversion, vectors: Vectors) -> Vectors:
    """Log odds that an image is a negative, shape (n,); columns far beyond what was seen count as 5 deviations."""
    z = (vectors - inversion.mean.array) / inversion.scale.array
    scores: Vectors = np.clip(z, -5.0, 5.0) @ inversion.weights.array + inversion.bias
    return scores
