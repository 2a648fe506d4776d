"""Worlds: scripted task and proposer LMs with hidden rules, where what any prompt is worth can be computed."""
