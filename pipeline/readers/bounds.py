"""Bounds of what lengths in a header can mean: beyond them a number was written wrong."""

SMALLEST_MM, LARGEST_SPACING_MM, LARGEST_POSITION_MM = 1e-6, 1e4, 1e6
"""A nanometre and ten metres between voxels, a kilometre from the origin."""
