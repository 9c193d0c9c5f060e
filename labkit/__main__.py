"""Runs the command line as `python -m labkit`."""

from __future__ import annotations

from labkit.cli.app import main

if __name__ == "__main__":
    main()
