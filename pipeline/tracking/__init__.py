"""The only door to MLflow: a journal on disk, its replay, the model registry."""
