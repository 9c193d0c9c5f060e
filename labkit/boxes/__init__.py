"""A box, from its description to the storage pool."""
