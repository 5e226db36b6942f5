"""Sums under homomorphic encryption, the alternative to masks: with the extra `ckks` (TenSEAL)."""
