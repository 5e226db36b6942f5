# SPDX-License-Identifier: Apache-2.0

"""Every kind of model that a study can train, one file a kind; `any` joins them."""
