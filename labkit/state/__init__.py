"""What is recorded of a lab, who may change it, and the session a verb holds."""
