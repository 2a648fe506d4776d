"""Strategies replayed on tables of recorded and synthetic outcomes; no LM is asked."""
