"""labkit turns one lab file into a running, verified OpenStack lab on a libvirt host."""

from __future__ import annotations

__version__ = "0.1.0"
