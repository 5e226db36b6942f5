# SPDX-License-Identifier: Apache-2.0

"""Models whose parameters are NumPy arrays."""
