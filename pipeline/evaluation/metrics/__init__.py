"""One metric a file. ``Config.build()`` returns a function of truth and probabilities."""
