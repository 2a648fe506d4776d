"""The seam to language models, and everything between a request and its completion."""
