"""Layouts that headers share: the files of a series differ in their values, seldom in where these lie.

A layout follows from the bytes of the tags, value representations and lengths alone, nested ones too. Where these are,
byte for byte and at the same places, those of a header that has been walked, the walk would end the same.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_TEMPLATES = 4
"""Layouts that are tried: UIDs and decimals of a series have a few lengths."""

MARK_BYTES = 8
"""Bytes from each mark on that a walk has looked at."""


class Layout(NamedTuple):
    """Where the elements of a plain header begin.

    Attributes
    ----------
    meta, starts : dict of int to int
        Tag to the place of its element, in the file meta information and in the data set. Shared: never changed.
    values : dict of int to (str, int, int)
        Tag to value representation, beginning and end of its value, of the elements of the data set that were asked
        for in any of the files.
    offset : int
        Where the pixel data begins.
    """

    meta: dict[int, int]
    starts: dict[int, int]
    values: dict[int, tuple[str, int, int]]
    implicit: bool
    offset: int


class _Walked(NamedTuple):
    layout: Layout
    content: bytes
    marks: list[int]


class _Template:
    """A layout, and what must stand where for it to hold."""

    def __init__(self, walked: _Walked) -> None:
        self.layout = walked.layout
        self._marks = np.unique(np.array(walked.marks, np.intp))
        self._end = int(self._marks[-1]) + MARK_BYTES
        self._expected = _words(walked.content)[self._marks].tobytes()

    def fits(self, content: bytes) -> bool:
        return len(content) >= self._end and _words(content)[self._marks].tobytes() == self._expected


class Templates:
    """The layouts met last. One is made a template when a second header has ended at the same place."""

    def __init__(self) -> None:
        self._known: deque[_Template] = deque(maxlen=MOST_TEMPLATES)
        self._walked: deque[_Walked] = deque(maxlen=MOST_TEMPLATES)

    def find(self, content: bytes) -> Layout | None:
        """Layout of a header, where it is one of those that are known."""
        for rank, template in enumerate(self._known):
            if template.fits(content):
                if rank:
                    del self._known[rank]
                    self._known.appendleft(template)
                return template.layout
        return None

    def learn(self, content: bytes, layout: Layout, marks: list[int]) -> None:
        """Note a header that was walked.

        Parameters
        ----------
        marks : list of int
            From where on the walk has looked at :data:`MARK_BYTES` bytes each; all of them lie in `content`.
        """
        for rank, walked in enumerate(self._walked):
            if (walked.layout.offset, len(walked.marks)) == (layout.offset, len(marks)):
                del self._walked[rank]
                self._known.appendleft(_Template(walked))
                return
        self._walked.appendleft(_Walked(layout, content[: max(marks) + MARK_BYTES], marks))  # never the pixels


def _words(content: bytes) -> NDArray[np.uint64]:
    """View the 8 bytes from each place on as one number, without a copy."""
    return np.ndarray((len(content) - MARK_BYTES + 1,), np.uint64, content, strides=(1,))
