"""What crosses a DataLoader."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pipeline.data.draws import Draw


class Batch(NamedTuple):
    """Prepared cases, collated.

    Attributes
    ----------
    image : Tensor of float32, shape (n, c, *space)
    label : Tensor of int64, shape (n, columns)
        Laid out by :func:`pipeline.domain.encoding.label_slices`; -1 is unknown.
    case_id : list of str
    draws : sequence of Draw
        Changes that the device is still to make, one an image; empty where there are none, or they are made.
    """

    image: Tensor
    label: Tensor
    case_id: list[str]
    draws: Sequence[Draw] = ()
