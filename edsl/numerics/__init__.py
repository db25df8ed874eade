"""Numbers: sums, factors of matrices, rounding, dtypes. Imports errors alone."""
