"""Other packages' optimizers: their classes, and E around them. Imports what edsl.optim may."""
