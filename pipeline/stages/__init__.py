"""The verbs: each module is one stage of the pipeline and holds the settings of it."""
