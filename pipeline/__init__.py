"""resdx: from a folder of scans and a label file to a diagnostic model that reviewers trust."""

__version__ = "0.1.0"
