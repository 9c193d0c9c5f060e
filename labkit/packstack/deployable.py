"""Whether a lab can be deployed: by its file, by what runs, by how fast that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.boxes.definition import find_box
from labkit.boxes.file import DebianBoxFile
from labkit.errors import OperationError
from labkit.host.libvirt.xml import DomainState
from labkit.lab import deployment, releases

if TYPE_CHECKING:
    from labkit.state.session import Session

# libvirt's type of a domain that QEMU runs without KVM.
EMULATED = "qemu"


def require_possible(session: Session) -> None:
    """Require that the lab file describes something that Packstack can install, where it is to.

    Raises:
        OperationError: It does not; details list what is in the way.
        UsageError: There is no such box.
    """
    if session.lab.obstacles:
        message = f"The lab '{session.lab.name}' cannot be deployed as its file is."
        lines = (
            f"{'.'.join(str(part) for part in each.place)}: expected {each.expected}, "
            f"found {each.found}"
            for each in session.lab.obstacles
        )
        raise OperationError(
            message,
            details=tuple(lines),
            hint="Set each of these keys in the lab file; 'labkit validate' reads it.",
        )
    _require_release(session)


def _require_release(session: Session) -> None:
    """Require that box and nodes are of the lab's release of OpenStack."""
    wanted = session.lab.release
    asked = f"and the lab asks for {releases.facts(wanted).title}."
    box = find_box(session.lab.box, beside=session.lab_file.parent).file
    if isinstance(box, DebianBoxFile) and box.release is not wanted:
        brought = releases.facts(box.release).title
        message = f"The box '{session.lab.box}' brings Packstack of {brought}, {asked}"
        hint = (
            f"Set 'release: {box.release}' in the lab file, or use a box of CentOS, such as "
            "'--box centos7-2009'."
        )
        raise OperationError(message, hint=hint)
    earlier = session.state().deployment.release
    if earlier is not None and earlier is not wanted:
        message = f"The nodes have packages of {releases.facts(earlier).title}, {asked}"
        hint = (
            f"Set 'release: {earlier}' in the lab file, or make the nodes anew: 'labkit destroy', "
            "then 'labkit up'."
        )
        raise OperationError(message, hint=hint)


def require_up(session: Session) -> None:
    """Require that every node of the deployment runs.

    Raises:
        OperationError: Some do not.
    """
    with session.tools.connect() as hypervisor:
        states = {
            node.name: hypervisor.domain_state(node.uuid)
            for node in deployment.deployed_nodes(session.lab)
        }
    missing = [name for name, state in states.items() if state is not DomainState.RUNNING]
    if missing:
        named = ", ".join(f"'{name}'" for name in missing)
        message = f"Every node has to run for this; not running: {named}."
        raise OperationError(message, hint="Run 'labkit up' first.")


def require_acceleration(session: Session) -> None:
    """Require KVM for the nodes of a box that is no stand-in.

    Raises:
        OperationError: Some nodes are emulated.
    """
    # puppet-openstacklib gives each call of the openstack client 40 s, and all tries of one 170 s
    # (branch stable/queens, lib/puppet/provider/openstack.rb); Packstack's --timeout is another.
    if find_box(session.lab.box, beside=session.lab_file.parent).file.stand_in:
        return
    ours = {node.uuid: node.name for node in deployment.deployed_nodes(session.lab)}
    with session.tools.connect() as hypervisor:
        domains = hypervisor.domains()
    emulated = [
        f"'{ours[each.uuid]}'"
        for each in domains
        if each.uuid in ours and each.domain_type == EMULATED
    ]
    if emulated:
        message = (
            f"Packstack is too slow for its own limits on emulated nodes: {', '.join(emulated)}."
        )
        raise OperationError(
            message,
            details=("Puppet gives each command of OpenStack 40 s, whatever --timeout says.",),
            hint="Use a host with KVM ('labkit doctor'), or rehearse with '--box rehearsal'; "
            "'labkit deploy --force' tries it all the same.",
        )
