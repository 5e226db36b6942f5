# SPDX-License-Identifier: Apache-2.0

"""Asking sums one after another: what a stage asks, what a site answers, and the noise of them all."""
