"""Whether a scan is like the training data."""
