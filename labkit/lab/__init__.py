"""From lab.yaml to the resolved lab to every rendered text; pure, no I/O but reading files."""
