"""Suites of studies: optimizers held against each other on tasks, with comparisons declared before."""
