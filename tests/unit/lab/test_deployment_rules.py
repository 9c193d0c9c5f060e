from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from labkit.errors import LabFileError
from labkit.lab import options, yaml
from labkit.lab.file import check, load
from labkit.lab.topology import Release
from tests.support.examples import DEPLOYED, EXAMPLES

LAB = DEPLOYED
FIRST = LAB.count("\n") + 1  # the line of the first key below 'deployment'


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(*lines: str, lab: str = LAB) -> tuple[str, ...]:
    """Return what is wrong with a lab whose deployment has these lines, their file left out."""
    Path("lab.yaml").write_text(lab + "".join(f"  {line}\n" for line in lines), encoding="utf-8")
    try:
        load(Path("lab.yaml"))
    except LabFileError as exc:
        return tuple(line.removeprefix("lab.yaml:") for line in exc.details)
    return ()


def answer(line: str, *more: str, scenario: str = "multinode") -> tuple[str, ...]:
    """Return what is wrong with an entry of `answers`; it stands in line FIRST + 1."""
    return problems(f"answers:\n    {line}", f"scenario: {scenario}", *more)


@pytest.mark.parametrize(
    "lines",
    [
        ("scenario: multinode",),
        ("scenario: multinode", "form: command", "lbaas: true"),
        ("scenario: allinone", "external_bridge: br-int"),
        ("scenario: allinone", "tunnel_nic: enp0s3"),
        ("scenario: external-network", "external_nic: enp0s8", "external_bridge: br0"),
        ("scenario: multinode", "answers: {}"),
        (
            "scenario: multinode",
            "answers: {CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS: 'a:br-a, extnet:br-ex'}",
        ),
        ("scenario: multinode", "answers: {CONFIG_KEYSTONE_ADMIN_PW: letmein}"),
        ("scenario: allinone", "answers: {CONFIG_NEUTRON_ML2_TYPE_DRIVERS: vxlan}"),
        ("scenario: allinone", "answers: {CONFIG_SERVICE_WORKERS: 2}"),
    ],
)
def test_deployment_that_works_has_no_problem(lines: tuple[str, ...]) -> None:
    assert problems(*lines) == ()


@pytest.mark.parametrize(
    ("scenario", "found"),
    [
        ("multi-node", "the unknown scenario 'multi-node' (did you mean 'multinode'?)"),
        ("nothing", "the unknown scenario 'nothing'"),
        ("add-compute", "'add-compute', which 'labkit add-compute NODE' starts in a deployed lab"),
        ("add-computer", "the unknown scenario 'add-computer'"),
    ],
)
def test_scenario_that_cannot_be_deployed_is_told_the_known_ones(
    scenario: str, found: str
) -> None:
    expected = "one of 'allinone', 'external-network', 'multinode'"
    assert problems(f"scenario: {scenario}") == (
        f"{FIRST}:13: deployment.scenario: expected {expected}, found {found}",
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ("scenario: multinode", "external_nic: enp0s9"),
            (
                f"{FIRST + 1}:17: deployment.external_nic: expected a card that is on 'one' "
                "('enp0s3', 'enp0s8'), found 'enp0s9', which 'one' does not have"
            ),
        ),
        (
            ("scenario: multinode", "tunnel_nic: enp0s9"),
            (
                f"{FIRST + 1}:15: deployment.tunnel_nic: expected a card that is on 'one' and 'two' "
                "('enp0s3', 'enp0s8'), found 'enp0s9', which 'one', 'two' do not have"
            ),
        ),
        (
            ("scenario: multinode", "tunnel_nic: enp0s3"),
            (
                f"{FIRST + 1}:15: deployment.tunnel_nic: expected another card than 'external_nic', "
                "whose address moves to the bridge, found 'enp0s3' for both"
            ),
        ),
        (
            ("scenario: multinode", "external_nic: enp0s8"),
            (
                f"{FIRST}:13: deployment.scenario: expected the key 'tunnel_nic': another card than "
                "'external_nic', whose address moves to the bridge, found 'enp0s8' for both"
            ),
        ),
        (
            ("scenario: external-network", "tunnel_nic: enp0s9"),
            (
                f"{FIRST + 1}:15: deployment.tunnel_nic: expected a card that is on 'one' "
                "('enp0s3', 'enp0s8'), found 'enp0s9', which 'one' does not have"
            ),
        ),
        (
            ("scenario: external-network", "external_bridge: enp0s8"),
            (
                f"{FIRST + 1}:20: deployment.external_bridge: expected a name of its own for the "
                "bridge, such as 'br-ex', found 'enp0s8', a card of the lab"
            ),
        ),
        (
            ("scenario: multinode", "external_bridge: br-tun"),
            (
                f"{FIRST + 1}:20: deployment.external_bridge: expected a name of its own for the "
                "bridge, such as 'br-ex', found 'br-tun', Neutron's own bridge"
            ),
        ),
    ],
)
def test_card_or_bridge_that_does_not_fit_is_named(lines: tuple[str, ...], problem: str) -> None:
    assert problems(*lines) == (problem,)


def test_multinode_without_a_compute_node_says_so() -> None:
    lab = LAB.replace("[compute]", "[network]")
    assert problems("scenario: multinode", lab=lab) == (
        (
            f"{FIRST}:13: deployment.scenario: expected a node with the role compute for this "
            "scenario, found none"
        ),
    )
    assert problems("scenario: external-network", lab=lab) == ()


def test_multinode_where_each_node_has_one_card_needs_another() -> None:
    lab = "".join(line for line in LAB.splitlines(keepends=True) if "enp0s8" not in line)
    assert problems("scenario: external-network", lab=lab) == ()
    [problem] = problems("scenario: multinode", lab=lab)
    assert "found 'enp0s3' for both" in problem


def test_controller_without_a_default_gateway_cannot_run_packstack() -> None:
    lab = LAB.replace("address: 10.0.0.3", "address: 10.0.0.3, gateway: false")
    assert problems("scenario: allinone", lab=lab) == ()
    lab = lab.replace("address: 10.0.0.4", "address: 10.0.0.4, gateway: false")
    assert problems("scenario: allinone", lab=lab) == (
        (
            "7:3: nodes.one: expected a card in a network with a gateway, without which Packstack "
            "does not start, found none on the controller"
        ),
    )


def test_controller_that_is_told_not_to_use_its_gateway_cannot_run_packstack() -> None:
    off = "ifcfg: {DEFROUTE: no}"
    lab = LAB.replace("address: 10.0.0.3", f"address: 10.0.0.3, {off}")
    assert problems("scenario: allinone", lab=lab) == ()
    lab = lab.replace("address: 10.0.0.4", f"address: 10.0.0.4, {off}")
    [problem] = problems("scenario: allinone", lab=lab)
    assert "does not start, found 'DEFROUTE: no' on each such card" in problem


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        (
            "CONFIG_LBAS_INSTALL: 'y'",
            5,
            (
                "expected one of the 316 answer-file keys of Packstack, found the unknown key "
                "'CONFIG_LBAS_INSTALL' (did you mean 'CONFIG_LBAAS_INSTALL'?)"
            ),
        ),
        (
            "CONFIG_NOVA_COMPUTE_HOSTS: 10.0.0.5",
            5,
            (
                "expected 'CONFIG_COMPUTE_HOSTS', which took its place, found "
                "'CONFIG_NOVA_COMPUTE_HOSTS'"
            ),
        ),
        (
            "CONFIG_REDIS_HOST: 10.0.0.3",
            5,
            (
                "expected no 'CONFIG_REDIS_HOST' here (it is decided by the nodes' roles and "
                "addresses, for all eight host keys), found 'CONFIG_REDIS_HOST'"
            ),
        ),
        (
            "CONFIG_LBAAS_INSTALL: 'y'",
            5,
            (
                "expected no 'CONFIG_LBAAS_INSTALL' here (it is decided by 'lbaas'), found "
                "'CONFIG_LBAAS_INSTALL'"
            ),
        ),
        (
            "EXCLUDE_SERVERS: 10.0.0.3",
            5,
            (
                "expected no 'EXCLUDE_SERVERS' here (it is decided by nothing; a node left out of a "
                "run is cut off by the others' firewalls), found 'EXCLUDE_SERVERS'"
            ),
        ),
        ("CONFIG_HEAT_INSTALL: maybe", 26, "expected 'y' or 'n', found 'maybe'"),
        (
            "CONFIG_REDIS_PORT: 65535",
            24,
            "expected a port from 0 to 65534, found '65535'",
        ),
        (
            "CONFIG_VNC_SSL_CERT: 'a ;b'",
            26,
            (
                "expected a value without ' ;', where Packstack's parser starts a comment, "
                "found 'a ;b'"
            ),
        ),
        (
            "CONFIG_VNC_SSL_CERT: '%(x)s'",
            26,
            "expected a value without '%(', on which Packstack's parser fails, found '%(x)s'",
        ),
        (
            "CONFIG_KEYSTONE_ADMIN_PW: sec#ret",
            31,
            (
                "expected 1 to 64 letters, digits, '.', '_' or '-', as Packstack escapes nothing, "
                "found a secret that does not fit"
            ),
        ),
        (
            "CONFIG_NEUTRON_L2_AGENT: ovn",
            30,
            "expected 'openvswitch', as labkit's own steps rely on it, found 'ovn'",
        ),
        (
            "CONFIG_NEUTRON_ML2_TYPE_DRIVERS: vxlan",
            38,
            "expected 'flat' among the values, as the scenario needs it, found 'vxlan'",
        ),
        (
            "CONFIG_NEUTRON_OVS_BRIDGE_IFACES: br-ex:enp0s8",
            39,
            (
                "expected 'br-ex:enp0s3' among the values, as the scenario needs it, found "
                "'br-ex:enp0s8'"
            ),
        ),
    ],
)
def test_answer_that_cannot_be_is_found_with_its_line_and_column(
    line: str, column: int, problem: str
) -> None:
    key = line.split(":", maxsplit=1)[0]
    place = f"{FIRST + 1}:{column}: deployment.answers.{key}"
    assert answer(line) == (f"{place}: {problem}",)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("mirror.example/x", "'mirror.example/x'"),
        ("http://a.example,b.example", "'http://a.example,b.example'"),
        ("me:hunter2", "'me:***'"),
    ],
)
def test_further_repository_that_is_no_url_is_refused_as_by_yum(value: str, found: str) -> None:
    expected = "URLs with http://, https://, ftp:// or file:// in front"
    (line,) = answer(f"CONFIG_REPO: '{value}'")
    assert line.endswith(f"CONFIG_REPO: expected {expected}, found {found}")


def test_further_repositories_by_url_have_no_problem() -> None:
    assert answer("CONFIG_REPO: 'http://a.example/x, file:///srv/x'") == ()
    assert answer("CONFIG_REPO: ''") == ()


def test_answer_that_is_no_text_is_reported_once() -> None:
    [problem] = answer("CONFIG_HEAT_INSTALL: true")
    assert "for a switch write y or n" in problem


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("CONFIG_KEYSTONE_ADMIN_PW: letmein", "the secret 'CONFIG_KEYSTONE_ADMIN_PW', which must"),
        (
            "CONFIG_DEFAULT_PASSWORD: letmein",
            "the secret 'CONFIG_DEFAULT_PASSWORD', which must not stand on a",
        ),
        ("CONFIG_MARIADB_USER: root", "the key 'CONFIG_MARIADB_USER', which no option of the"),
        ("CONFIG_VNC_SSL_CERT: ''", "an empty 'CONFIG_VNC_SSL_CERT', which the command takes"),
    ],
)
def test_answer_that_no_command_can_say_asks_for_the_answer_file(line: str, found: str) -> None:
    assert answer(line) == ()
    [problem] = answer(line, "form: command")
    assert problem.startswith(f"{FIRST + 1}:5: deployment.answers.")
    assert f"expected 'form: answer-file', found {found}" in problem
    assert "letmein" not in problem


def test_everything_wrong_is_reported_at_once_in_file_order() -> None:
    found = problems(
        "scenario: multinode",
        "form: spoken",
        "external_nic: eth0",
        "tunnel_nic: enp0s9",
        "answers:",
        "  CONFIG_NO_SUCH: 1",
        "  CONFIG_HEAT_INSTALL: perhaps",
        lab=LAB.replace("address: 10.0.0.6", "address: 10.0.9.6"),
    )
    assert [line.split(": ")[1] for line in found] == [
        "nodes.two.nics.enp0s8.address",
        "deployment.form",
        "deployment.external_nic",
        "deployment.tunnel_nic",
        "deployment.answers.CONFIG_NO_SUCH",
        "deployment.answers.CONFIG_HEAT_INSTALL",
    ]


def test_lab_without_answers_or_lbaas_does_not_read_the_table_of_options() -> None:
    options._table.cache_clear()
    options._by_key.cache_clear()
    assert problems("scenario: multinode") == ()
    assert options._table.cache_info().misses == 0
    load(EXAMPLES["several-computes"])
    assert options._table.cache_info().misses == 1


def of_release(release: str, *lines: str) -> tuple[str, ...]:
    """Return what is wrong with a lab of a release; `release` stands in its third line."""
    name, box, *rest = LAB.splitlines(keepends=True)
    return problems(*lines, lab="".join((name, box, f"release: {release}\n", *rest)))


def test_release_that_labkit_does_not_know_is_refused_with_those_it_does() -> None:
    (problem,) = of_release("pike", "scenario: multinode")
    assert problem == "3:10: release: expected 'queens', 'rocky', 'stein' or 'train', found 'pike'"


@pytest.mark.parametrize("release", Release)
def test_lbaas_is_refused_where_the_release_has_none(release: Release) -> None:
    found = of_release(release, "scenario: multinode", "lbaas: true")
    if release is not Release.TRAIN:
        assert found == ()
        return
    (problem,) = found
    assert problem == (
        f"{FIRST + 2}:10: deployment.lbaas: expected false, as OpenStack has no LBaaS in the "
        "release 'train', found true"
    )


def test_answer_key_of_another_release_says_which_has_it() -> None:
    key = "CONFIG_KEYSTONE_DB_PURGE_ENABLE"
    (problem,) = of_release("rocky", "scenario: multinode", f"answers: {{{key}: y}}")
    assert "a key that Packstack has for the release 'rocky'" in problem
    assert f"found '{key}', which it has for 'queens'" in problem
    assert of_release("queens", "scenario: multinode", f"answers: {{{key}: n}}") == ()


@pytest.mark.parametrize("release", [Release.STEIN, Release.TRAIN])
def test_answers_of_a_release_with_ovn_are_judged_beside_the_open_vswitch_agent(
    release: Release,
) -> None:
    tenants = "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"
    assert of_release(release, "scenario: multinode", f"answers: {{{tenants}: vxlan}}") == ()
    (problem,) = of_release(release, "scenario: multinode", f"answers: {{{tenants}: geneve}}")
    assert tenants in problem


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deployment=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["scenario", "form", "answers", "tunnel_nic", "CONFIG_REPO", "x"]),
                inner | st.sampled_from(["multinode", "allinone", "command"]),
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    nodes=st.sampled_from(["nodes: 7", "nodes: {}", "nodes: {a: {roles: [controller]}}", ""]),
)
def test_any_deployment_beside_any_nodes_is_judged(deployment: object, nodes: str) -> None:
    text = f"{nodes}\nnetworks: [a]\ndeployment: {json.dumps(deployment)}\n"
    lab, problems = check(yaml.parse(text, "lab.yaml"))
    assert lab is None
    assert problems
