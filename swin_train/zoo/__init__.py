"""Models with weights: by name, from a file, and what the authors published."""
