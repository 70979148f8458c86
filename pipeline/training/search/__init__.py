"""The search for settings: what is searched, the trials that a storage shares, and the page of the result."""
