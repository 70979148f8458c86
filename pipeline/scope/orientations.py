"""Are the axes of an image as those of the training images are: fit a score, and find out which turns it can tell.

A header that names its axes wrongly turns the image by one of the 7 symmetries of the square, or the 47 of the cube.
The score f is linear in the coarse layout x of an image, and is learned as a conditional logit (McFadden 1974): among
an image and all its turns, the image itself should have the highest score. Where a patient lies in the field of view
differs from scan to scan, and by more than a few hundred training scans show: each is learned from as it is and moved
by half a cell. What cannot be told (left and right where the training scans show both) is found on held-out scans and
left out, so that it refuses nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.scope import Numbers, Orientation, Turn

TOLD = 0.9
"""Share of held-out images that must have a higher score than their turned image, for that turn to be looked for."""

PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""Of squared weights, for layouts of norm 1, from the strongest. The best one lies where the data say: 1e-4 for 546
ultrasound images, of which no two look alike, a thousandth of that for 1,080 photographs by one camera."""

TINY = 1e-12
"""Norm of a layout of one value only, so that it stays zero."""

Number = TypeVar("Number", bound=np.generic)
Layouts = NDArray[np.float64]
Which = tuple[tuple[int, ...], tuple[int, ...]]


@cache
def all_turns(ndim: int) -> tuple[Which, ...]:
    """All (order, flipped) but the identity: 7 in 2D, 47 in 3D."""
    found = [
        (order, tuple(axis for axis, is_flipped in enumerate(flips) if is_flipped))
        for order in permutations(range(ndim))
        for flips in product((False, True), repeat=ndim)
    ]
    return tuple(found[1:])


def place_of(turn: Which) -> int:
    """Place of a turn in :func:`all_turns`; -1 for the identity."""
    order, flipped = turn
    return -1 if order == tuple(range(len(order))) and not flipped else all_turns(len(order)).index(turn)


def after(second: Which, first: Which) -> Which:
    """Join two turns into the one that does the same as `first` and then `second`."""
    order = tuple(first[0][axis] for axis in second[0])
    flipped = tuple(axis for axis, source in enumerate(second[0]) if (axis in second[1]) is not (source in first[1]))
    return order, flipped


def turned(image: NDArray[Number], order: tuple[int, ...], flipped: tuple[int, ...]) -> NDArray[Number]:
    """Turn an image, shape (c, *space): axis a of what comes out is axis ``order[a]``; then `flipped` are reversed."""
    moved = np.transpose(image, (0, *(axis + 1 for axis in order)))
    return np.flip(moved, tuple(axis + 1 for axis in flipped))


def words(order: tuple[int, ...], flipped: tuple[int, ...], names: tuple[str, ...]) -> str:
    """Say what a turn does, with the names of the axes."""
    said = [f"{' and '.join(names[axis] for axis in flipped)} reversed"] if flipped else []
    moved = [names[axis] for axis, source in enumerate(order) if axis != source]
    return ", ".join([*([f"{' and '.join(moved)} exchanged"] if moved else []), *said])


@dataclass(frozen=True, slots=True)
class Turner:
    """Score of layouts and of their turns.

    Attributes
    ----------
    weights : ndarray, shape (maps * cells, 1 + turns)
        First for the layout itself.
    """

    weights: Layouts
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, orientation: Orientation) -> "Turner":
        """Unpack, with the turns that can be told alone."""
        weights = orientation.weights.array
        told = tuple(turn for turn in orientation.turns if turn.told >= TOLD)
        maps, shape = weights.shape[0], weights.shape[1:]
        places = _places([(turn.order, turn.flipped) for turn in told], maps, shape)
        return cls(_spread(weights.ravel(), places), told)

    def margins(self, layouts: Layouts) -> Layouts:
        """Score of each turned layout minus that of the layout itself, shape (n, turns)."""
        scores = _flat(layouts) @ self.weights
        margins: Layouts = scores[:, 1:] - scores[:, :1]
        return margins


def fit_folds(layouts: Layouts, folds: NDArray[np.intp]) -> tuple[float, dict[int, Layouts]]:
    """Choose the penalty whose weights, fitted to the other folds, tell the layouts of a fold best from their turns.

    Penalties are tried from the strongest on, until the next is no better.

    Parameters
    ----------
    layouts : ndarray, shape (n, maps, *cells)
    folds : ndarray of int, shape (n,)

    Returns
    -------
    float
        The penalty.
    dict
        Fold to the weights that were fitted without it, as :func:`fit_orientation` does.
    """
    best, chosen, kept = np.inf, PENALTIES[0], dict[int, Layouts]()
    weights = {int(fold): np.zeros(layouts.shape[1:]) for fold in np.unique(folds)}
    for penalty in PENALTIES:
        weights = {fold: _fit(layouts[folds != fold], penalty, start) for fold, start in weights.items()}
        loss = sum(_surprise(margins_of(found, layouts[folds == fold])) for fold, found in weights.items())
        if loss >= best:
            break
        best, chosen, kept = loss, penalty, weights
    return chosen, kept


def _surprise(margins: Layouts) -> float:
    """Minus the logarithm of the likelihood that each layout is the one that is not turned, summed."""
    return float(np.logaddexp(0.0, np.logaddexp.reduce(margins, axis=1)).sum())


def fit_orientation(layouts: Layouts, penalty: float) -> Layouts:
    """Fit weights, shape (maps, *cells), to training layouts, shape (n, maps, *cells), as they are and moved.

    Where a penalty is weak the fit stops before its end, so that where it began counts: it begins with the weights of
    the next stronger penalty of :data:`PENALTIES`, and those with their next, for these layouts as for all folds.
    """
    weights = np.zeros(layouts.shape[1:])
    for each in (*(stronger for stronger in PENALTIES if stronger > penalty), penalty):
        weights = _fit(layouts, each, weights)
    return weights


def _fit(layouts: Layouts, penalty: float, start: Layouts) -> Layouts:
    """Go from one set of weights to that of another penalty."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    maps, shape = layouts.shape[1], layouts.shape[2:]
    places = _places(all_turns(len(shape)), maps, shape)
    flat, moves = _flat(layouts), _moves(maps, shape)
    norms = np.stack([np.linalg.norm(move.T @ flat.T, axis=0) for move in moves], axis=1)[..., np.newaxis]
    norms = np.maximum(norms, TINY)

    def loss(weights: Layouts) -> tuple[float, Layouts]:
        spread = _spread(weights, places)
        scores = (flat @ np.hstack([move @ spread for move in moves])).reshape(len(flat), len(moves), -1) / norms
        value = float((logsumexp(scores, axis=2) - scores[..., 0]).mean()) + penalty / 2 * float(weights @ weights)
        push = softmax(scores, axis=2)
        push[..., 0] -= 1
        slopes = np.split(flat.T @ (push / norms).reshape(len(flat), -1), len(moves), axis=1)
        slope = sum(move.T @ one for move, one in zip(moves, slopes, strict=True)) / norms.size
        gradient = penalty * weights
        for column, place in enumerate(places):
            gradient = gradient + slope[place, column]
        return value, gradient

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    weights: Layouts = found.x.reshape(layouts.shape[1:])
    return weights


def _moves(maps: int, shape: tuple[int, ...]) -> list[Any]:
    """Make sparse matrices (cells, cells): a flat layout times each of them is the layout moved by half a cell.

    The first leaves it where it is; two follow for each axis. What moves in is the rim.
    """
    from scipy import sparse

    cells = np.arange(maps * int(np.prod(shape))).reshape(maps, *shape)
    stay = sparse.identity(cells.size, format="csr")
    moves: list[Any] = [stay]
    for axis in range(1, cells.ndim):
        last = cells.shape[axis] - 1
        for step in (1, -1):
            neighbours = cells.take(np.clip(np.arange(last + 1) + step, 0, last), axis=axis).ravel()
            moves.append((stay + stay[:, neighbours]) / 2)
    return moves


def orientation_of(weights: Layouts, held_out: Layouts) -> Orientation:
    """Join weights with what they can tell: `held_out` are margins (n, turns) of images that were not fitted to."""
    told = (held_out < 0).mean(axis=0)
    which = all_turns(weights.ndim - 1)
    turns = (Turn(order=order, flipped=flips, told=float(t)) for (order, flips), t in zip(which, told, strict=True))
    return Orientation(weights=Numbers.of(weights), turns=tuple(turns))


def margins_of(weights: Layouts, layouts: Layouts) -> Layouts:
    """Margins of all turns, shape (n, turns), by weights (maps, *cells)."""
    places = _places(all_turns(weights.ndim - 1), weights.shape[0], weights.shape[1:])
    scores = _flat(layouts) @ _spread(weights.ravel(), places)
    margins: Layouts = scores[:, 1:] - scores[:, :1]
    return margins


def _flat(layouts: Layouts) -> Layouts:
    flat: Layouts = layouts.reshape(len(layouts), -1)
    norms: Layouts = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), TINY)
    return flat / norms


def _places(turns: Sequence[Which], maps: int, shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Of the identity and each turn: which cell of a layout comes to each place of the turned one."""
    cells = np.arange(maps * int(np.prod(shape))).reshape(maps, *shape)
    return [cells.ravel(), *(np.ascontiguousarray(turned(cells, *turn)).ravel() for turn in turns)]


def _spread(weights: Layouts, places: list[NDArray[np.intp]]) -> Layouts:
    """Weights of each turn, so that a layout times column t is the score of the layout turned by t."""
    out = np.empty((len(weights), len(places)))
    for column, place in enumerate(places):
        out[place, column] = weights
    return out
