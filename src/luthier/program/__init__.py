"""Programs: predictors, candidates, runs, and traces."""
