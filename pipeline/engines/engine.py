"""What every engine does: prepared images in, logits out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A model package made ready to run.

    Attributes
    ----------
    name : str
        Its kind, for logs and summaries.
    """

    name: str

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run prepared images.

        Images are run one at a time, so that a case's result never depends on what stands beside it in a batch.

        Parameters
        ----------
        images : ndarray of float32, shape (n, c, *space)
            From :func:`pipeline.preprocessing.transforms.prepare` with the package's plan.

        Returns
        -------
        ndarray of float32, shape (n, outputs)
            Laid out by :func:`pipeline.domain.encoding.output_slices`; averaged over the package's members
            and flips.
        """
