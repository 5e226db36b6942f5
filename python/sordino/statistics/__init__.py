"""Statistics of features by secure sums."""
