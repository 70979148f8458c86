"""Metrics, one part a file. ``Config.build()`` returns a :class:`pipeline.evaluation.metrics.metric.Metric`."""
