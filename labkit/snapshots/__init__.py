"""Snapshots of the whole lab: one instant across all nodes, memory and disk, restored and proven."""
