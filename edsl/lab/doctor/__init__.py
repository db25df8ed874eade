"""What edsl finds on a machine, and whether steps are right there. Imports optimizers, and torch with care."""
