"""The only door to MLflow: a journal on disk, its replay, the model registry."""

import os

# MLflow reports its use to its makers unless told not to; nothing leaves a hospital unasked
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
