"""Weights that were trained elsewhere, from a local file into our networks, with a report of every tensor."""
