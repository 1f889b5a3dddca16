"""Measurements of the machine that a user has: which data pipeline feeds it, and what limits it."""
