"""This host, one module per tool; none knows what a lab is."""
