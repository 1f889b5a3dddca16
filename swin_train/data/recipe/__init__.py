"""What is drawn: the laws of the training recipe, each a pure function of a picture's size and a generator.

A law touches no pixel. What comes out is a ``View``, which every back end renders in its own way.
"""
