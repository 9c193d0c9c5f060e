"""What CentOS 7's network scripts make of a node's ifcfg files, to judge ours by.

The scripts are initscripts 9.49.41 (CentOS 7.5) to 9.49.54 (7.9) and Open vSwitch's ifup-ovs and
ifdown-ovs, 2.9 to 2.11. Nothing of them is here: what they do is told as rules, each with its source,
and as the two answers that follow from them, the order in which devices come up and the default route.
"""

from __future__ import annotations

from tests.support.initscripts.files import Node, NodeText, read
from tests.support.initscripts.order import Route, bring_up_order, default_route
from tests.support.initscripts.rules import RULES, Problem, Rule, judge

__all__ = [
    "RULES", "Node", "NodeText", "Problem", "Route", "Rule", "bring_up_order", "default_route",
    "judge", "read",
]  # fmt: skip
