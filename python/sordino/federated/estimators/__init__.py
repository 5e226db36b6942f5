"""Estimators of scikit-learn that are trained by secure sums over the sites of their rows."""
