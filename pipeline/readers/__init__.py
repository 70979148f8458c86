"""Files to Series to Volume. One part a format; :mod:`pipeline.readers.discovery` finds which file belongs to which."""
