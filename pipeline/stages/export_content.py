"""What an export is made from, and what it is made of."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Case
from pipeline.preprocessing.cache import PreparedCache

Format = Literal["openvino", "onnx"]
FORMATS: tuple[Format, ...] = ("openvino", "onnx")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Validation cases, ready to run.

    Attributes
    ----------
    cases : tuple of Case
    cache : PreparedCache
    reference : ndarray of float32, shape (n, outputs)
        Logits of PyTorch in float32 on the CPU.
    """

    cases: tuple[Case, ...]
    cache: PreparedCache
    reference: NDArray[np.float32]

    def image(self, case: Case) -> NDArray[np.float32]:
        """Voxels (c, *space) of a case, memory-mapped."""
        return self.cache.load(case)


class Written(NamedTuple):
    """What stands in the folder.

    Attributes
    ----------
    formats : tuple of str
    int8 : bool
        Whether the quantised networks are written.
    note : str
        What int8 took.
    int8_failure : str
        Why there is none where it was tried; empty otherwise.
    """

    formats: tuple[Format, ...]
    int8: bool = False
    note: str = ""
    int8_failure: str = ""
