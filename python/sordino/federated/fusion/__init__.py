# SPDX-License-Identifier: Apache-2.0

"""Models over several modalities, blocks of features that not every site has, and over missing values."""
