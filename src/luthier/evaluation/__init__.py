"""Rollouts, metrics, data, and the statistics of comparing programs."""
