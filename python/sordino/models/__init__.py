"""Models whose parameters are NumPy arrays."""
