"""libvirt's storage pools and volumes: found, filled, compared, removed."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

import libvirt  # noqa: TID251 -- part of the adapter

from labkit.errors import HostError, OperationError
from labkit.host.inventory import POOL, POOL_PATH
from labkit.host.libvirt.errors import SPACE_HINT, NotFoundError, system_errno, translated
from labkit.host.libvirt.pool import PoolInfo, define, describe, refresh
from labkit.host.libvirt.xml import VolumeInfo, parse_volume, volume_xml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

# 400 MB through libvirtd's socket, libvirt 9.0.0, memory to memory: 64 KiB 320 MB/s, 256 KiB 690,
# 1 MiB 700, 4 MiB 800, 8 MiB 830, 16 MiB 550. More would only make progress jumpier.
CHUNK_BYTES = 4 * 2**20
EDGE_BYTES = 64 * 2**10

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class Storage:
    """The pools and volumes of one libvirt connection; made by `Hypervisor`."""

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection

    def ensure_pool(self, name: str = POOL, path: Path = POOL_PATH) -> PoolInfo:
        """Make sure the pool is there and active, and return it.

        A pool of that name is used as it is, whatever its directory; a missing one is defined
        as the directory `path`, which is created, and set to start with libvirtd. POOL_PATH is
        for POOL alone.

        Raises:
            HostError: The pool's directory is gone.
            LabkitError: libvirt refuses, for example because another pool has the directory.
        """
        try:
            handle = self._pool(name)
        except NotFoundError:
            if name != POOL and path == POOL_PATH:
                raise
            handle = define(self._connection, name, path)
        found = describe(handle)
        if not found.active and not found.present:
            message = f"The directory '{found.path}' of the storage pool '{name}' is gone."
            hint = f"Mount it, or make it again with 'virsh pool-build {name}'."
            raise HostError(message, hint=hint)
        with translated(f"start the storage pool '{name}'"):
            if not found.active:
                handle.create(0)
        return self.pool(name)

    def pool(self, name: str) -> PoolInfo:
        """Return the active pool, its free space measured now.

        Raises:
            NotFoundError: There is no such pool.
        """
        handle = self._pool(name)
        refresh(handle)
        return describe(handle)

    def pools(self) -> tuple[PoolInfo, ...]:
        """Return every pool, by name, as of its last refresh."""
        with translated("list the storage pools"):
            listed = self._connection.listAllStoragePools(0)
        return tuple(sorted(map(describe, listed), key=lambda pool: pool.name))

    def pool_free_bytes(self, name: str) -> int:
        """Return the space left on the pool's file system, measured now."""
        return self.pool(name).free_bytes

    def refresh(self, pool: str) -> None:
        """Let libvirt look at the pool's directory again: files come and go behind its back."""
        refresh(self._pool(pool))

    def volumes(self, pool: str) -> tuple[VolumeInfo, ...]:
        """Return the pool's volumes, as of its last refresh, by name."""
        handle = self._pool(pool)
        with translated(f"list the volumes of the storage pool '{pool}'"):
            listed = handle.listAllVolumes(0)
        found = [_described(item, pool) for item in listed]
        return tuple(sorted((item for item in found if item is not None), key=lambda v: v.name))

    def volume(self, pool: str, name: str) -> VolumeInfo | None:
        """Return the volume as of the pool's last refresh; None when there is none."""
        found = self._find(pool, name)
        return None if found is None else _described(found, pool)

    def upload_volume(
        self,
        pool: str,
        name: str,
        source: Path,
        *,
        offset: int = 0,
        length: int | None = None,
        mode: int = 0o644,
        progress: Callable[[int], None] | None = None,
    ) -> VolumeInfo:
        """Copy part of a file into a new volume and return it.

        The volume is created empty and grows as data arrives, front to back; on any error,
        Ctrl-C included, it is deleted again. Only `kill -9` leaves a partial one, which
        `volume_intact` recognises.

        Args:
            pool: An active pool.
            name: The new volume's name.
            source: The file that holds the image.
            offset: Where in the file the image starts, in bytes.
            length: How long it is, in bytes; None for the rest of the file.
            mode: Permissions of the volume's file. A box is read by QEMU's own user through
                its overlays: leave it world-readable.
            progress: Called with the number of bytes sent so far, about every 4 MiB.

        Raises:
            ConflictError: The volume exists already.
            HostError: The pool has too little space.
            OperationError: The file is shorter than `offset` and `length` say.
        """
        size = _length(source, offset, length)
        free = self.pool_free_bytes(pool)
        if free < size:
            raise _no_space(pool, name, needed=size, free=free)
        with translated(f"create the volume '{name}' in the storage pool '{pool}'"):
            created = self._pool(pool).createXML(volume_xml(name, mode=mode), 0)
        complete = False
        try:
            with translated(f"upload '{source}' as the volume '{name}' of the pool '{pool}'"):
                self._send(created, _chunks(source, offset, size), size, progress)
            complete = True
        except HostError as exc:
            cause = exc.__cause__
            if isinstance(cause, libvirt.libvirtError) and system_errno(cause) in _NO_SPACE:
                # The free figure is libvirt's of before the upload: someone else took the rest.
                raise _no_space(pool, name, needed=size, free=free, during=True) from cause
            raise
        finally:
            if not complete:
                _drop_partial(created, name)
        self.refresh(pool)
        done = _described(created, pool)
        if done is None:
            msg = f"The volume '{name}' vanished from the storage pool '{pool}' after its upload."
            raise OperationError(msg)
        return done

    def volume_intact(
        self,
        pool: str,
        name: str,
        source: Path,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bool:
        """Whether the volume holds all of the image that `upload_volume` would send.

        Uploads run front to back into a file that grows, so the right length and the right
        last 64 KiB mean it is complete, and the right first 64 KiB that it is this image.

        Raises:
            OperationError: The source is shorter than `offset` and `length` say.
        """
        size = _length(source, offset, length)
        self.refresh(pool)
        found = self._find(pool, name)
        info = None if found is None else _described(found, pool)
        if found is None or info is None or info.physical_bytes != size:
            return False
        edge = min(EDGE_BYTES, size)
        return all(
            self._read(found, name, start, edge) == _slice(source, offset + start, edge)
            for start in (0, size - edge)
        )

    def read_volume(self, pool: str, name: str, offset: int, length: int) -> bytes:
        """Return part of a volume's file; fewer bytes where it ends, none when it is not there.

        Raises:
            LabkitError: libvirt cannot read it.
        """
        found = self._find(pool, name)
        return b"" if found is None else self._read(found, name, offset, length)

    def delete_volume(self, pool: str, name: str) -> bool:
        """Delete the volume and return whether there was one.

        Raises:
            LabkitError: libvirt refuses.
        """
        found = self._find(pool, name)
        if found is None:
            return False
        try:
            with translated(f"delete the volume '{name}' of the storage pool '{pool}'"):
                found.delete(0)
        except NotFoundError:
            return False
        return True

    def _pool(self, name: str) -> libvirt.virStoragePool:
        with translated(f"find the storage pool '{name}'"):
            return self._connection.storagePoolLookupByName(name)

    def _find(self, pool: str, name: str) -> libvirt.virStorageVol | None:
        try:
            handle = self._pool(pool)
            with translated(f"find the volume '{name}' of the storage pool '{pool}'"):
                return handle.storageVolLookupByName(name)
        except NotFoundError:
            return None

    def _send(
        self,
        volume: libvirt.virStorageVol,
        chunks: Iterator[bytes],
        size: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        stream = self._connection.newStream(0)
        finished = False
        sent = 0
        try:
            volume.upload(stream, 0, size, 0)
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[stream.send(bytes(rest)) :]
                sent += len(chunk)
                if progress is not None:
                    progress(sent)
            # Without finish() libvirtd may still drop what it has not written yet.
            stream.finish()
            finished = True
        finally:
            if not finished:
                _abort(stream)

    def _read(self, volume: libvirt.virStorageVol, name: str, offset: int, length: int) -> bytes:
        with translated(f"read the volume '{name}'"):
            stream = self._connection.newStream(0)
            finished = False
            parts: list[bytes] = []
            try:
                volume.download(stream, offset, length, 0)
                while part := stream.recv(length):
                    parts.append(part)
                stream.finish()
                finished = True
            finally:
                if not finished:
                    _abort(stream)
        return b"".join(parts)


def _drop_partial(volume: libvirt.virStorageVol, name: str) -> None:
    try:
        volume.delete(0)
    except libvirt.libvirtError as exc:
        # The upload's own error is the one to report; volume_intact finds what is left.
        log.warning("The partial volume '%s' could not be deleted: %s", name, exc)


def _described(volume: libvirt.virStorageVol, pool: str) -> VolumeInfo | None:
    """Return the volume's record; None when its file went away meanwhile."""
    try:
        with translated(f"read the volume '{volume.name()}' of the storage pool '{pool}'"):
            return parse_volume(volume.XMLDesc(0), pool=pool)
    except NotFoundError:
        return None


def _abort(stream: libvirt.virStream) -> None:
    try:
        stream.abort()
    except libvirt.libvirtError as exc:
        # A stream that failed by itself is gone already and says so.
        log.debug("abort of a failed stream: %s", exc)


def _length(source: Path, offset: int, length: int | None) -> int:
    held = source.stat().st_size - offset
    size = held if length is None else length
    if size <= 0 or held < size:
        msg = (
            f"The image in '{source}' should be {max(size, 1)} bytes at offset {offset}, "
            f"but the file holds {max(held, 0)} there."
        )
        raise OperationError(msg)
    return size


def _chunks(source: Path, offset: int, size: int) -> Iterator[bytes]:
    left = size
    with source.open("rb") as file:
        file.seek(offset)
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                msg = f"The file '{source}' became shorter while it was uploaded."
                raise OperationError(msg, details=(f"{left} of {size} bytes are missing",))
            left -= len(chunk)
            yield chunk


def _slice(source: Path, offset: int, length: int) -> bytes:
    with source.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _no_space(pool: str, name: str, *, needed: int, free: int, during: bool = False) -> HostError:
    when = "ran full during the upload" if during else "has too little space for"
    of = f"of the volume '{name}'" if during else f"the volume '{name}'"
    return HostError(
        f"The storage pool '{pool}' {when} {of}: "
        f"{_mib(needed)} MiB are needed, {_mib(free)} MiB were free.",
        hint=SPACE_HINT,
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"
