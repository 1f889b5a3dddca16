"""Back ends: each renders the views that the recipe draws, in its own way.

``exact`` is the specification; the choices are the same in all of them but ``timm``, whose chain draws its own.
"""
