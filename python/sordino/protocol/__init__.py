# SPDX-License-Identifier: Apache-2.0

"""The secure-sum protocol as values and state machines: no clock, no socket, no file (docs/protocol.md)."""
