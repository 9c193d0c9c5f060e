"""Arguments in, one verb, output and an exit code out."""
