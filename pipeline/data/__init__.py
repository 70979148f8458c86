"""Batches: dataset, augmentation, sampling, and the Lightning data module."""
