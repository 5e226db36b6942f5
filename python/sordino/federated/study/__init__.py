"""A study from a file: what it asks for, what its data must look like, and a run that survives a crash."""
