"""`add-compute`: a further compute node into a deployed lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.lab.deployment import SINGLE_NODE
from labkit.lifecycle.up import up
from labkit.packstack.deploy import deploy

if TYPE_CHECKING:
    from labkit.packstack.report import DeployReport
    from labkit.state.directory import DeploymentState
    from labkit.state.session import Session


def add_compute(session: Session, name: str) -> DeployReport:
    """Bring a node of the lab file up and let Packstack install it beside the others.

    Packstack runs with all hosts, the controller among them: its firewall has to let the new node
    in (packstack/plugins, the rules of AMQP, MariaDB and VXLAN name every source). What is
    installed keeps its passwords.

    Raises:
        UsageError: The lab has no such node.
        OperationError: The lab or the node is in no state for that; or as `up` and `deploy`.
    """
    require_addable(session, name)
    up(session)
    return deploy(session, snapshot=False)


def require_addable(session: Session, name: str) -> None:
    """Refuse what `add_compute` cannot do.

    Raises:
        UsageError: The lab has no such node.
        OperationError: It is no compute node, is deployed already, or the lab is not.
    """
    node = session.node(name)
    known = session.state().deployment
    if session.lab.deployment.scenario in SINGLE_NODE:
        message = (
            f"The scenario '{session.lab.deployment.scenario}' has one node; "
            "a further compute node needs 'multinode'."
        )
        raise OperationError(
            message, hint="Set 'deployment.scenario' to multinode in the lab file."
        )
    if not known.deployed:
        message = f"The lab '{session.lab.name}' is not deployed yet, so nothing can be added."
        raise OperationError(message, hint="'labkit deploy' installs all nodes of the lab file.")
    if "compute" not in node.roles:
        message = f"Node '{name}' has no role 'compute' in the lab file."
        raise OperationError(message, hint=_what_can_be_added(session, known))
    # A run that was cut off, or failed, is gone on with.
    if name in known.deployed and known.handled:
        message = f"Node '{name}' is deployed already."
        raise OperationError(message, hint="'labkit verify' shows whether it works.")


def _what_can_be_added(session: Session, known: DeploymentState) -> str:
    """Return the command for a compute node that waits in the lab file, or where to put one."""
    waiting = [
        node.name
        for node in session.lab.nodes
        if "compute" in node.roles and node.name not in known.deployed
    ]
    if waiting:
        return f"Run 'labkit add-compute {waiting[0]}'."
    return "Add a node with 'roles: [compute]' to the lab file, and name that."
