"""Packstack in the guest: what is prepared for it, how it is run, and what it leaves behind."""
