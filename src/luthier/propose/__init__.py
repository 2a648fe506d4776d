"""Candidate prompts: bootstrapped demonstrations and grounded instructions (MIPRO §3.1)."""
