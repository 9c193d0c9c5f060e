from __future__ import annotations

import subprocess  # noqa: TID251 -- bash judges what bash will read

import pytest

from labkit import resources
from labkit.errors import HostError
from tests.support.examples import ROOT


def test_root_checkout_is_the_directory_above_the_package() -> None:
    assert str(resources.root()) == str(ROOT)


def test_read_text_template_returns_its_text() -> None:
    expected = (ROOT / "kickstart" / "hosts.j2").read_text(encoding="utf-8")
    assert resources.read_text("kickstart/hosts.j2") == expected


@pytest.mark.parametrize("name", ["kickstart/none.j2", "kickstart"])
def test_read_text_missing_file_raises_host_error(name: str) -> None:
    with pytest.raises(HostError, match=f"'{name}' is missing"):
        resources.read_text(name)


def test_guest_script_hostile_values_are_text_to_bash() -> None:
    values = {
        "since": "x'; echo $(id) `id`\n$HOME",
        "chunk": 7,
        "fetched": "",
        "paths": ("a 'b", "*"),
        "offsets": (),
    }
    text = resources.guest_script("labkit.packstack", "watch", **values)  # type: ignore[arg-type] # mixed
    assert "# data:" not in text
    head = text.partition("read -r boot")[0]
    show = 'printf "%s|" "$since" "$chunk" "${#paths[@]}" "${paths[@]}" "${#offsets[@]}"'
    done = subprocess.run(["bash", "-c", head + show], capture_output=True, check=True)
    assert done.stdout.decode() == "x'; echo $(id) `id`\n$HOME|7|2|a 'b|*|0|"


@pytest.mark.parametrize("values", [{}, {"bytes": 1, "more": 2}, {"byte": 1}])
def test_guest_script_other_variables_than_the_script_has_are_refused(
    values: dict[str, int],
) -> None:
    with pytest.raises(ValueError, match="'gather' has other variables"):
        resources.guest_script("labkit.packstack", "gather", **values)


def test_guest_script_without_data_is_as_it_is() -> None:
    text = (ROOT / "labkit/packstack/guest/main.sh").read_text(encoding="utf-8")
    assert resources.guest_script("labkit.packstack", "main") == text
