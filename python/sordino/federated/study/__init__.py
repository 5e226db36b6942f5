# SPDX-License-Identifier: Apache-2.0

"""A study from a file: what it asks for, what its data must look like, and a run that survives a crash."""
