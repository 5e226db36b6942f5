# SPDX-License-Identifier: Apache-2.0

"""Attacks on sordino's own sums and models, each beside a control that it must win and a null.

The control shows that the attack works, the null that it does not see things.
An attack that finds nothing proves nothing; docs/audit.md says what each one can see.
"""
