"""Benchmark tasks: program, data, and metric, one file each."""
