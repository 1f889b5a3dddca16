"""All ways to load the user's images against each other."""
