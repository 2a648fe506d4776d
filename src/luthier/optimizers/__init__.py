"""The bridge between the towers: one algorithm of the paper per file."""
