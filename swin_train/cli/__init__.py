"""The command line: ``main.py``, with one small file per command."""
