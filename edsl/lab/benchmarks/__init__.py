"""How fast optimizers are, and how much memory they take. Imports trials, costs and optim."""
