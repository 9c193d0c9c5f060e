"""The verbs on a whole lab and its machines: plan, up, wait, status, halt, destroy, sweep, doctor, run, rehearsal."""
