"""Runs the command line as `python -m labkit`."""

from __future__ import annotations

from labkit.cli import main

if __name__ == "__main__":
    main()
