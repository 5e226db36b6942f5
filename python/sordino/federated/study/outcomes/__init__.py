# SPDX-License-Identifier: Apache-2.0

"""What a study predicts, one file a kind: its columns, their checks, and how good a prediction of it is."""
