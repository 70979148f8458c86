"""Networks ``(n, c, *space)`` to ``(n, features)``. A part's ``Config.build(ndim, channels)`` returns a Backbone."""
