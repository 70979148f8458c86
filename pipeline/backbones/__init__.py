"""Networks ``(n, c, *space)`` to ``(n, features)``.

A part's ``Config`` is a :class:`pipeline.backbones.settings.BackboneSettings`; its ``build(ndim, channels)`` returns a
:class:`pipeline.backbones.backbone.Backbone`.
"""
