"""Weights in files: read safely, adapted to a target's shapes, written whole. No model is imported here."""
