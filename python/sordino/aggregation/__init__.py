# SPDX-License-Identifier: Apache-2.0

"""One port for sums over sites (`base`), and what stands behind it: `plain` and `masked`."""
