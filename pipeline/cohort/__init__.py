"""From scans and labels to a manifest: label files, series selection, splits, pseudonyms, the leak audit."""
