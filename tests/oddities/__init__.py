"""What goes wrong with scans in hospitals, row by row: phantoms that have it, and what must become of them."""
