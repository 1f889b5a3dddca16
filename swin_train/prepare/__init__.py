"""Data sets made ready: written in another layout without changing a pixel, and looked through."""
