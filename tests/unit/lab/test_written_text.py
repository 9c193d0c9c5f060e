"""What is text in a lab file stays as it is written, whatever YAML takes it for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabFileError
from labkit.lab import scenarios, yaml
from labkit.lab.file import check
from labkit.lab.resolve import resolve
from tests.support.examples import LAB_ID

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab

LAB = """\
name: {name}
box: {box}
pool: {pool}
dns: {{domain: {domain}}}
networks:
  {network}: {{mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}}
nodes:
  {node}:
    roles: [controller]
    cpus: {cpus}
    memory: 512 MiB
    nics:
      enp0s3: {{network: {network}, address: 10.0.0.3, mac: {mac}, ifcfg: {{UUID: {uuid}}}}}
deployment:
  scenario: allinone
  form: answer-file
  lbaas: {lbaas}
  external_bridge: {bridge}
  physical_network: {physical}
  answers: {{CONFIG_KEYSTONE_ADMIN_PW: {password}}}
"""
USUAL = {
    "name": "demo",
    "box": "rehearsal",
    "pool": "default",
    "domain": "demo.test",
    "network": "lan",
    "node": "one",
    "cpus": "1",
    "mac": "52:54:00:12:34:56",
    "uuid": "x",
    "lbaas": "false",
    "bridge": "br-ex",
    "physical": "extnet",
    "password": "letmein",
}
# What some version of YAML, or ruamel, takes for something else than text.
OPINIONS = (
    "000000", "0", "7", "-7", "+7", "0042", "042", "08", "0o17", "0O17", "0x1F", "0xdeadbeef", "0b101", "1_000_000",
    "1_0", "_1", "12345678901234567890123456789", "3.14", "1.0", "1.", ".5", "1e3", "1E3", "1e-3", "1.5e+3", "6.02_2e23",
    "0.10", "1.10", "-0", "00.5", ".inf", "-.inf", "+.inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", "inf", "nan",
    "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF", "y", "Y", "n", "N",
    "2018-07-01", "2018-7-1", "2001-12-14t21:59:43.10-05:00", "2001-12-15 2:59:43.10", "12:30", "1:30:45", "190:20:30",
    "20:30.15", "00:11:22:33:44:55", "7.9.2009", "10.0.0.3", "<<", "=", "1K", "0x", "1e", "nul", "nullx", "~x", "trueish",
)  # fmt: skip
# One for each thing that YAML takes a text for.
OF_EACH_KIND = (
    "000000",
    "0o17",
    "0x1F",
    "0b101",
    "1_0",
    "1e3",
    "1.10",
    ".inf",
    "yes",
    "n",
    "2018-07-01",
    "12:30",
    "<<",
)
SWITCHES = ("true", "True", "TRUE", "false", "False", "FALSE")
NOTHINGS = ("null", "Null", "NULL", "~")


def judged(before: str = "", **values: str) -> tuple[ResolvedLab | None, list[str]]:
    text = before + LAB.format(**{**USUAL, **values})
    lab, problems = check(yaml.parse(text, "lab.yaml"))
    lines = [problem.line("lab.yaml") for problem in problems]
    return (None if lab is None or problems else resolve(lab, lab_id=LAB_ID)), lines


def places(lab: ResolvedLab) -> dict[str, str]:
    """Return the text that each place of the file has become."""
    node = lab.nodes[0]
    return {
        "name": lab.name,
        "box": lab.box,
        "pool": lab.pool,
        "domain": lab.dns_domain,
        "network": lab.networks[0].name,
        "node": node.name,
        "mac": node.nics[0].mac,
        "uuid": dict(node.nics[0].ifcfg)["UUID"],
        "bridge": lab.deployment.external_bridge,
        "physical": lab.deployment.physical_network,
        "password": dict(lab.deployment.answers)["CONFIG_KEYSTONE_ADMIN_PW"],
    }


PLACES = tuple(name for name in USUAL if name not in {"cpus", "lbaas"})
# Keys whose texts are free: every one of OPINIONS is taken, but what a password may not have.
FREE = ("uuid", "password")


@pytest.mark.parametrize("before", ["", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n"])
def test_case_11_text_of_any_kind_is_read_as_it_is_written_by_every_version(before: str) -> None:
    # ruamel sets a sexagesimal number apart by YAML 1.1 alone; labkit reads every version alike.
    lines = "".join(f"- {text}\n" for text in OPINIONS)
    assert yaml.parse(f"{before}all:\n{lines}", "lab.yaml").data == {"all": list(OPINIONS)}


@pytest.mark.parametrize("place", PLACES)
def test_case_11_text_stays_as_it_is_written_or_is_refused_with_line_and_column(
    place: str,
) -> None:
    for text in (*OF_EACH_KIND, *SWITCHES, *NOTHINGS):
        if text == "<<" and place in {"network", "node"}:
            # As a key it is refused before anything is built.
            with pytest.raises(LabFileError) as caught:
                judged(**{place: text})
            assert "a merge key" in caught.value.details[0]
            continue
        lab, lines = judged(**{place: text})
        if lab is not None:
            assert places(lab)[place] == text
        else:
            # A network's name stands twice.
            assert len(lines) == 1 + (place == "network"), lines
            assert all(re.match(r"lab\.yaml:[0-9]+:[0-9]+: ", line) for line in lines)


@pytest.mark.parametrize("text", OPINIONS)
def test_case_11_free_text_is_taken_whatever_yaml_takes_it_for(text: str) -> None:
    lab, lines = judged(uuid=text)
    assert lines == []
    assert lab
    assert places(lab)["uuid"] == text
    lab, lines = judged(password=f"a{text}")
    assert lab is not None or "1 to 64 letters, digits" in lines[0]


@pytest.mark.parametrize(
    "password", ["000000", "0042", "0x1F", "1_000_000", "0o17", "007", "1.50"]
)
def test_case_11_password_of_zeros_stays_a_password_of_zeros(password: str) -> None:
    lab, lines = judged(password=password)
    assert lines == []
    assert lab
    assert places(lab)["password"] == password
    text = scenarios.call(lab, {}).answer_file or ""
    assert f"CONFIG_KEYSTONE_ADMIN_PW={password}\n" in text


@pytest.mark.parametrize("word", [*SWITCHES, *NOTHINGS])
@pytest.mark.parametrize("place", FREE)
def test_case_11_yamls_own_word_is_refused_with_the_advice_to_quote_it(
    word: str, place: str
) -> None:
    lab, [line] = judged(**{place: word})
    assert lab is None
    assert "quotes" in line
    lab, _lines = judged(uuid=f"'{word}'")
    assert lab
    assert places(lab)["uuid"] == word


@pytest.mark.parametrize("word", ["null", "~"])
@pytest.mark.parametrize("place", ["network", "node"])
def test_case_11_name_that_is_nothing_for_yaml_is_refused_with_the_advice_to_quote_it(
    word: str, place: str
) -> None:
    _lab, lines = judged(**{place: word})
    assert lines[0].endswith(
        f"expected a plain key, found '{word}', which is nothing without quotes"
    )


@pytest.mark.parametrize(
    "text", ["&six", "&six seven", "*six", "!six", "!six seven", "!six!seven"]
)
def test_case_11_text_with_a_mark_of_yaml_in_front_is_no_other_text(text: str) -> None:
    with pytest.raises(LabFileError) as caught:
        judged(uuid=f"{text} ")
    [line] = caught.value.details
    assert line.startswith("lab.yaml:13:87: ")
    assert "quotes around a text" in line or text == "!six!seven"
    assert "six" not in line


@pytest.mark.parametrize("text", ["0x4", "04", "0o4", "4_0", "+4", "4.0", "4e0", "0b100", "'4'"])
def test_number_is_read_from_plain_digits_alone(text: str) -> None:
    lab, [line] = judged(cpus=text)
    assert lab is None
    assert "cpus: expected a whole number from 1 to 64, found" in line


@pytest.mark.parametrize("text", [*SWITCHES, "yes", "on", "y", "1", "'true'"])
def test_switch_is_read_from_true_and_false_alone(text: str) -> None:
    lab, lines = judged(lbaas=text)
    assert (lab is not None) == (text in SWITCHES)
    assert lines == [] or "lbaas: expected true or false, found" in lines[0]
    assert lab is None or lab.deployment.lbaas is (text.lower() == "true")


@given(st.from_regex(r"[0-9+.eExob_:-]{1,12}", fullmatch=True))
def test_case_11_number_of_any_spelling_stays_as_it_is_written(text: str) -> None:
    try:
        lab, lines = judged(uuid=text)
    except LabFileError:
        return  # '-' and ': ' are YAML's own
    assert lines == [] or "a list" in lines[0]
    assert lab is None or places(lab)["uuid"] == text
