# SPDX-License-Identifier: Apache-2.0

"""Slow and obvious versions of every kernel, written from the standards and papers.

Product code never imports them; the tests compare with them, and `vectors.py` makes the known answers.
"""
