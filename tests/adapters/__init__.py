"""Adapters: programs, trackers, and tracers of others."""
