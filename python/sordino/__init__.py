"""sordino: sums over hospitals that nobody can open, and federated radiomics on them."""

from __future__ import annotations
