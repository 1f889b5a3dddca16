"""The engine: a run from its configuration to its last checkpoint."""
