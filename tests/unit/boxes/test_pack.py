"""The command that packs a disk, and the documents beside it, without running qemu-img."""

from __future__ import annotations

import json
from pathlib import Path

from labkit.boxes.definition import find_box
from labkit.boxes.pack import box_documents, convert_command

CHECKOUT = Path(__file__).parents[3]


def test_convert_command_writes_into_the_file_at_its_offset() -> None:
    command = convert_command(Path("/a/disk"), Path("/a,b/box"), offset=1536)
    assert command[-1] == (
        "driver=qcow2,file.driver=raw,file.offset=1536,"
        "file.file.driver=file,file.file.filename=/a,,b/box"
    )
    assert {"-c", "-n", "--target-is-zero"} <= set(command)


def test_box_documents_have_the_first_form_of_metadata() -> None:
    definition = find_box("centos7", CHECKOUT)
    documents = box_documents(definition)
    assert json.loads(documents["metadata.json"]) == {
        "provider": "libvirt",
        "format": "qcow2",
        "virtual_size": definition.file.disk_gib,
    }
    assert json.loads(documents["info.json"])["labkit-content-key"] == definition.key
    assert "synced_folder" in documents["Vagrantfile"]
