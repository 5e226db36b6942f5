# SPDX-License-Identifier: Apache-2.0

"""The files that a site keeps: its identity, the pinned roster, its settings and its journal."""
