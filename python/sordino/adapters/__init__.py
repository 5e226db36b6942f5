# SPDX-License-Identifier: Apache-2.0

"""Where sordino leaves one machine: the protocol inside engines that hospitals already run."""
