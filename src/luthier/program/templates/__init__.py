"""Prompt templates of one's own: Jinja, ``str.format``, and YAML files whose marked regions are tuned."""
