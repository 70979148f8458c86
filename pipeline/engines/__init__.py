"""How a package runs.

A part's ``Config`` is a :class:`pipeline.engines.settings.EngineSettings`; its ``build(package)`` returns an
:class:`pipeline.engines.engine.Engine`.
"""
