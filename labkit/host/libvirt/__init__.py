"""libvirt: domains, networks, storage and snapshots; XML in, frozen records out."""
