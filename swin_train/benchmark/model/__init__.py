"""Training steps, inference and kernels, against those of other libraries and against what the machine can do."""
