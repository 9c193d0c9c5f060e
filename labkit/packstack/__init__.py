"""Packstack: what it is told, what it prints, and what it leaves behind."""
