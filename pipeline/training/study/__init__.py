"""Networks of several depths trained alike, step by step, and what is measured on the way."""
