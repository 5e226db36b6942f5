# SPDX-License-Identifier: Apache-2.0

"""Survival by secure sums: Cox regression, survival curves, the log-rank test, C-index, Brier score."""
