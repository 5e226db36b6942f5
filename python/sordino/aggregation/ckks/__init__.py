# SPDX-License-Identifier: Apache-2.0

"""Sums under homomorphic encryption, the alternative to masks: with the extra `ckks` (TenSEAL)."""
