"""The optional C extension of the data path: it decodes, resizes and augments in threads of this process.

``build`` compiles it, ``library`` calls it. Nothing in the package needs it; without it pictures go through
worker processes.
"""
