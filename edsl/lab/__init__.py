"""What optimizers do on data: races, measures, claims. Imports costs, theory, optim and what is below them."""
