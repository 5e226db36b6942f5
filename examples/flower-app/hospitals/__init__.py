# SPDX-License-Identifier: Apache-2.0

"""A Flower app on secure sums: logistic regression at six hospitals."""
