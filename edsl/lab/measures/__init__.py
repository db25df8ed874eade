"""What is measured of a training beside its loss. Imports optim and what is below it."""
