"""The summary, the published values beside it, and the provenance."""
