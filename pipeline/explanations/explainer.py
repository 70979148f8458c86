"""What every explainer does: a prepared image in, a heatmap of one answer out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Explainer(Protocol):
    """The networks of a package made ready to say what speaks for an answer."""

    def heatmap(self, image: NDArray[np.float32], finding: str, label: str) -> NDArray[np.float32]:
        """Show where the image speaks for a class.

        What is explained is one logit: of a binary finding that of the positive class (its negative for the negative
        class), of a multiclass or multilabel finding that of the class. An ordinal finding has logits of thresholds,
        ``P(y > t)``: class number t + 1 is explained by that of threshold t, what raises the answer to it at least; the
        first class by the negative of the first.

        Parameters
        ----------
        image : ndarray of float32, shape (c, *space)
            From :func:`pipeline.preprocessing.transforms.prepare` with the package's plan. It is left as it is.
        finding, label : str
            Of the package, and one of its classes.

        Returns
        -------
        ndarray of float32, shape (*space)
            On the grid of the image, not negative, its maximum 1; 0 everywhere where nothing speaks for the class.
            It says where, not how much: the maximum is 1 for a weak sign as for a strong one.

        Raises
        ------
        RejectedInput
            NOT_FINITE if the network answers with NaN or infinity.
        """
