# SPDX-License-Identifier: Apache-2.0

"""Estimators of scikit-learn that are trained by secure sums over the sites of their rows."""
