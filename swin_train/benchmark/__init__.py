"""Measurements on the machine that a user has: of loading images, and of models."""
