"""The optimisation tower's search: spaces, trials, and strategies. Knows nothing of language models."""
