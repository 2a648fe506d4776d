"""Is it worth it, and is it better: checks before a study, comparisons after it, and a gate for CI."""
