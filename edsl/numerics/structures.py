"""What may be known of a buffer's values, by which few bytes can keep them."""

ELEMENTS = "elements"  # one for each element of the parameter, in its shape
ENTRIES = "entries"  # in a shape of their own, each by itself, as moments in a basis are
SYMMETRIC = "symmetric"  # symmetric matrices
TRIANGULAR = "triangular"  # upper triangular ones, or of one column a diagonal
MATRIX = "matrix"  # matrices of which nothing more is known, as bases
SCALAR = "scalar"  # one number a layer
ESTIMATE = "estimate"  # an estimator's

OF_MATRICES = (ENTRIES, SYMMETRIC, TRIANGULAR)  # what a stage may say of a buffer that hasn't the parameter's shape
