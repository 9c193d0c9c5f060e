"""A box comes into the pool, and what each step that fails leaves."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.definition import find_box
from labkit.boxes.pool import OVERLAY_BYTES, ensure, forget
from labkit.errors import HostError, OperationError
from labkit.host.libvirt.errors import ConflictError
from labkit.host.locks import held
from labkit.host.vagrant import box_volume
from labkit.waiting import Policy, WaitCancelled
from tests.fakes.libvirt import FakeHost
from tests.support.boxtree import CHECKOUT, put_in_cache
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.boxes.cache import CachedBox

AT_ONCE = Policy(tick=0.0)


@pytest.fixture
def box(tmp_path: Path) -> CachedBox:
    return put_in_cache(find_box("rehearsal", CHECKOUT), tmp_path / "cache")


@pytest.fixture
def host() -> FakeHost:
    found = FakeHost()
    found.pools.add("default")
    return found


def volume(box: CachedBox) -> str:
    return box_volume(box.vagrant_name, box.vagrant_version)


def put(
    host: FakeHost, box: CachedBox, said: list[str] | None = None, *, overlays: int = 1
) -> str:
    told = [] if said is None else said
    with host.connect() as hypervisor:
        return ensure(
            hypervisor,
            box,
            pool="default",
            overlays=overlays,
            progress=told.append,
            growing=AT_ONCE,
        )


def test_box_new_to_the_host_is_uploaded(host: FakeHost, box: CachedBox) -> None:
    said: list[str] = []
    assert put(host, box, said) == "uploaded"
    assert host.calls == [("upload", volume(box))]
    assert said == []


def test_box_that_is_there_is_left_alone(host: FakeHost, box: CachedBox) -> None:
    put(host, box)
    host.calls.clear()
    assert put(host, box) == "in the pool"
    assert host.calls == []


def test_box_in_another_users_cache_is_taken_from_there(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    with public_directory() as cache, public_directory() as home:
        monkeypatch.setenv("VAGRANT_HOME", str(home))
        box = put_in_cache(definition, cache)
        cache.chmod(0o555)
        with without_root():
            assert put(host, box) == "uploaded"
        assert sorted(path.name for path in cache.iterdir()) == ["boxes", "image"]


def test_torn_volume_of_an_earlier_run_is_replaced(host: FakeHost, box: CachedBox) -> None:
    host.add_volume(volume(box))
    host.torn.add(volume(box))
    assert put(host, box) == "uploaded"
    assert host.calls == [("delete volume", volume(box)), ("upload", volume(box))]


def test_volume_that_another_user_uploads_is_waited_for(host: FakeHost, box: CachedBox) -> None:
    host.add_volume(volume(box))
    host.torn.add(volume(box))
    sizes = iter(range(1, 5))

    def other() -> None:
        size = next(sizes, None)
        if size is None:
            host.torn.discard(volume(box))
        else:
            host.grow(volume(box), size)

    host.before("refresh", "default", other)
    assert put(host, box) == "in the pool"
    assert host.calls == []


def test_volume_that_another_user_begins_a_moment_before_is_waited_for(
    host: FakeHost, box: CachedBox
) -> None:
    host.fail("upload", volume(box), ConflictError("taken"))
    host.before("upload", volume(box), lambda: host.add_volume(volume(box)))
    assert put(host, box) == "in the pool"
    assert host.calls == [("upload", volume(box))]


def test_upload_without_space_leaves_no_volume_and_the_next_run_does_it(
    host: FakeHost, box: CachedBox
) -> None:
    host.fail("upload", volume(box), HostError("The storage pool has too little space."))
    with pytest.raises(HostError, match="too little space"):
        put(host, box)
    assert host.volumes == {}
    assert put(host, box) == "uploaded"


def test_upload_cut_short_is_the_error_and_the_next_run_replaces_what_it_left(
    host: FakeHost, box: CachedBox
) -> None:
    def leaves_a_part() -> None:
        host.add_volume(volume(box))
        host.torn.add(volume(box))

    host.before("upload", volume(box), leaves_a_part)
    host.fail("upload", volume(box), HostError("libvirtd does not answer"))
    with pytest.raises(HostError, match="does not answer"):
        put(host, box)
    host.before("upload", volume(box), lambda: None)
    assert put(host, box) == "uploaded"
    assert host.torn == set()


def test_box_file_that_is_gone_is_named_and_not_made_anew(host: FakeHost, box: CachedBox) -> None:
    box.box_file.unlink()
    with pytest.raises(HostError, match=r"labkit\.box' cannot be opened: No such file"):
        put(host, box)
    assert not box.box_file.exists()
    assert host.calls == []


def test_box_that_another_labkit_copies_is_waited_for(host: FakeHost, box: CachedBox) -> None:
    waiting = threading.Event()
    done: list[str] = []

    def told(line: str) -> None:
        assert "copies the box 'rehearsal' into the storage pool" in line
        waiting.set()

    def second() -> None:
        with host.connect() as hypervisor:
            done.append(ensure(hypervisor, box, pool="default", overlays=1, progress=told))

    with held(box.box_file, doing="copies", seconds=0, progress=print):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        host.add_volume(volume(box))
    thread.join(10)
    assert done == ["in the pool"]


def test_box_that_another_labkit_copies_is_given_up_when_cancelled(
    host: FakeHost, box: CachedBox
) -> None:
    with (
        held(box.box_file, doing="copies", seconds=0, progress=print),
        host.connect() as hypervisor,
        pytest.raises(WaitCancelled, match="process"),
    ):
        ensure(
            hypervisor,
            box,
            pool="default",
            overlays=1,
            progress=print,
            cancelled=lambda: True,
        )
    assert host.calls == []


def test_pool_without_room_for_the_nodes_says_how_much_is_needed(
    host: FakeHost, box: CachedBox
) -> None:
    host.free_bytes = 3 * OVERLAY_BYTES - 1
    assert put(host, box, overlays=2) == "uploaded"
    with pytest.raises(HostError, match="3 nodes need 192 MiB"):
        put(host, box, overlays=3)


OTHER = "a" * 12


def test_forget_removes_every_build_of_that_box_and_of_no_other(host: FakeHost) -> None:
    mine = [f"labkit-centos7-{digit * 12}_vagrant_box_image_1.0.0_box.img" for digit in "ab"]
    others = (
        f"labkit-centos7-2009-{OTHER}_vagrant_box_image_1.0.0_box.img",
        "labkit-centos7-lab_controller.img",
    )
    for name in (*mine, *others):
        host.add_volume(name)
    host.add_volume("demo.img", backing=others[0])

    told = forget("centos7", connect=host.connect)

    assert told == tuple(f"removed /pool/{name}" for name in mine)
    assert set(host.volumes) == {*others, "demo.img"}


def test_forget_that_is_dry_removes_nothing_and_says_what_it_would(host: FakeHost) -> None:
    mine = f"labkit-centos7-{OTHER}_vagrant_box_image_1.0.0_box.img"
    host.add_volume(mine)
    told = forget("centos7", connect=host.connect, dry_run=True)
    assert told == (f"would remove /pool/{mine}",)
    assert set(host.volumes) == {mine}


def test_forget_of_a_box_that_a_lab_uses_removes_nothing(host: FakeHost, box: CachedBox) -> None:
    host.add_volume(volume(box))
    host.add_volume("demo_controller.img", backing=volume(box))
    with pytest.raises(OperationError, match="in use") as caught:
        forget("rehearsal", connect=host.connect)
    assert caught.value.details == ("disk demo_controller.img",)
    assert host.calls == []


def test_forget_without_libvirtd_says_so_and_goes_on(host: FakeHost, box: CachedBox) -> None:
    put(host, box)
    host.fail("connect", "", HostError("libvirtd does not answer."))
    told = forget("rehearsal", connect=host.connect)
    assert told == ("left the storage pool alone: libvirtd does not answer.",)


def test_forget_that_loses_libvirtd_amid_the_volumes_says_what_is_gone(host: FakeHost) -> None:
    names = [f"labkit-centos7-{digit * 12}_vagrant_box_image_1.0.0_box.img" for digit in "ab"]
    for name in names:
        host.add_volume(name)
    host.fail("delete volume", names[1], HostError("libvirtd does not answer."))
    assert forget("centos7", connect=host.connect) == (
        f"removed /pool/{names[0]}",
        "left the storage pool alone: libvirtd does not answer.",
    )


def test_forget_without_a_pool_makes_none() -> None:
    host = FakeHost()
    assert forget("centos7", connect=host.connect) == ()
    assert (host.calls, host.pools, host.open) == ([], set(), 0)
