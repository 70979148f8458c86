"""What every engine does: prepared images in, logits and features out."""

from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Answer(NamedTuple):
    """What a package says of images: logits averaged over its members and flips, features of its first member.

    Attributes
    ----------
    logits : ndarray of float32, shape (n, outputs)
        Laid out by :func:`pipeline.domain.encoding.output_slices`.
    features : ndarray of float32, shape (n, features)
        Pooled feature vectors of the first member, averaged over flips; :mod:`pipeline.scope` looks at them.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.float32], outputs: int) -> Self:
        """Split rows of :meth:`pipeline.networks.classifier.Classifier.forward_rows`."""
        return cls(rows[:, :outputs], rows[:, outputs:])


class Engine(Protocol):
    """A model package made ready to run.

    Attributes
    ----------
    name : str
        Its kind, for logs and summaries.
    """

    name: str

    def answer(self, images: NDArray[np.float32]) -> Answer:
        """Run prepared images.

        Images are run one at a time, so that a case's result never depends on what stands beside it in a batch.

        Parameters
        ----------
        images : ndarray of float32, shape (n, c, *space)
            From :func:`pipeline.preprocessing.transforms.prepare` with the package's plan.

        Returns
        -------
        Answer
            A row an image.
        """
