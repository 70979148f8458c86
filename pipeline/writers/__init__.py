"""How results leave: one format a file. ``Config.build()`` returns a writer."""
