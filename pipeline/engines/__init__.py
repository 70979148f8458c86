"""How a package runs. A part's ``Config.build(package)`` returns an Engine."""
