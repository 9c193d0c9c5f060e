"""Readers of what the tools on a node print: text in, records out, nothing else."""
