"""What a reviewer of a run wants to see: its inputs, its curves, and where it is wrong."""
