"""Is this scan like the training data: fit a reference at the end of training, and judge scans by it."""
