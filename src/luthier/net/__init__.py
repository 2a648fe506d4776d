"""Verified fetch of files over HTTP: what arrives is checked before anything reads it."""

from luthier.net.fetch import download, member_chunks, write_verified

__all__ = ["download", "member_chunks", "write_verified"]
