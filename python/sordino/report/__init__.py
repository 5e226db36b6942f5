# SPDX-License-Identifier: Apache-2.0

"""What a run did, cost and left exposed, as one page for people and one file for programs."""
