"""Where in a scan a network looks: one method a file. ``Config.build(package)`` returns an Explainer."""
