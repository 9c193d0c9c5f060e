"""Packstack in the guests: prepared, run, followed, explained, mended."""
