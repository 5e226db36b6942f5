"""A Flower app on secure sums: logistic regression at six hospitals."""
