"""What crosses a DataLoader."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Prepared cases, collated.

    Attributes
    ----------
    image : Tensor of float32, shape (n, c, *space)
    label : Tensor of int64, shape (n, columns)
        Laid out by :func:`pipeline.domain.encoding.label_slices`; -1 is unknown.
    case_id : list of str
    """

    image: Tensor
    label: Tensor
    case_id: list[str]
