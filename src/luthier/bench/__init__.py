"""The benchmark: recorded tables to replay strategies on, and suites of real studies to compare optimizers by."""
