"""Pictures of one case: its slices side by side, and what a saliency method says of them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strips:
    """Film strips of one case, each a PNG of ``frames`` pictures from left to right.

    Attributes
    ----------
    frames, width, height : int
        Number of pictures and the size of each, in pixels that are squares in the patient. Of a 2D model one frame.
    slices : bytes
        Grey or RGB PNG, ``frames * width`` by ``height``.
    overlays : mapping of str to bytes
        Finding to an RGBA PNG of the same size that lies over ``slices``; empty where nothing was explained.
    """

    frames: int
    width: int
    height: int
    slices: bytes
    overlays: Mapping[str, bytes]
