# SPDX-License-Identifier: Apache-2.0

"""Federated training: what a site sends, what the coordinator does with the sum."""
