"""Fast paths behind plain functions; the PyTorch reference of each is its specification."""
