"""How far a vector lies from the nearest training vectors, in units of how these vary.

The distance is Mahalanobis' (Lee et al. 2018, *A Simple Unified Framework for Detecting Out-of-Distribution Samples*):
one covariance for all, shrunk towards a multiple of the identity (Ledoit and Wolf 2004). Shrinking keeps the
eigenvectors, so that the leading ones are stored and the others share one variance. It is taken to the k-th nearest
training vector rather than to a mean (Sun et al. 2022, *Out-of-Distribution Detection with Deep Nearest Neighbors*), so
that it holds too where the training scans are of several kinds with nothing between them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.scope import Numbers, Space

DIRECTIONS = 32
"""Leading directions that are stored; vectors of no more columns keep all of theirs."""

NEIGHBOURS = 300
"""Training vectors that are stored."""

NEAREST = 3
"""Which of the nearest counts."""

STILL = 0.1
"""Smallest scale of a column, as part of the median scale."""

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A :class:`Space` unpacked, ready to measure distances."""

    mean: Vectors
    scale: Vectors
    basis: Vectors
    variances: Vectors
    rest: float
    neighbours: Vectors

    @classmethod
    def of(cls, space: Space) -> "Measure":
        """Unpack."""
        return cls(
            space.mean.array,
            space.scale.array,
            space.basis.array,
            space.variances.array,
            space.rest,
            space.neighbours.array,
        )

    def distances(self, vectors: Vectors) -> Vectors:
        """Distance of each vector (n, d) from the k-th nearest training vector, divided by the root of d.

        Across the directions that are not stored, where the neighbours lie is not known either: there the distance is
        that from the mean.
        """
        z = (vectors - self.mean) / self.scale
        along = z @ self.basis.T
        outside = np.maximum((z**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        outside = outside / self.rest if self.rest > 0 else np.zeros_like(outside)
        white = along / np.sqrt(self.variances)
        apart = ((white[:, np.newaxis] - self.neighbours) ** 2).sum(axis=2)
        which = min(NEAREST, len(self.neighbours)) - 1
        nearest = np.partition(apart, which, axis=1)[:, which] + outside
        distances: Vectors = np.sqrt(nearest / z.shape[1])
        return distances


def fit_space(vectors: Vectors, least: float = 0.0, seed: int = 0) -> Space:
    """Fit to training vectors, shape (n, d), n at least 2.

    Parameters
    ----------
    least : float
        Difference that means nothing, in the unit of the vectors. Columns that vary less in training are scaled by it,
        and by no less than a part of what the others vary: one that never moved must not decide alone.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    mean, scale = vectors.mean(axis=0), vectors.std(axis=0)
    scale = np.maximum(scale, max(least, STILL * float(np.median(scale)), 1e-6))
    z = (vectors - mean) / scale
    count, columns = z.shape
    shrinkage = float(ledoit_wolf_shrinkage(z, assume_centered=True))
    _, singular, directions = np.linalg.svd(z, full_matrices=False)
    average = float((z**2).sum()) / count / columns
    floor = max(shrinkage * average, 1e-3)
    found = (1 - shrinkage) * singular**2 / count + floor
    kept = len(found) if columns <= DIRECTIONS else min(DIRECTIONS, len(found))
    spread = float(found[kept:].sum()) + (columns - len(found)) * floor
    rest = spread / (columns - kept) if columns > kept else 0.0
    along = z @ directions[:kept].T / np.sqrt(found[:kept])
    if count > NEIGHBOURS:
        along = along[np.sort(np.random.default_rng(seed).choice(count, NEIGHBOURS, replace=False))]
    return Space(
        mean=Numbers.of(mean),
        scale=Numbers.of(scale),
        basis=Numbers.of(directions[:kept]),
        variances=Numbers.of(found[:kept]),
        rest=float(np.float32(rest)),
        neighbours=Numbers.of(along),
    )
