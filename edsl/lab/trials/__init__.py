"""One training of one optimizer. Imports tasks, measures, optim and theory."""
