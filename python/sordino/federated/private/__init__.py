# SPDX-License-Identifier: Apache-2.0

"""Training under differential privacy: rows of patients, clipped sums, and a noise plan for the whole run."""
