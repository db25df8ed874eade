"""The conditions of the paper's regret bounds. Imports systems, and optim to watch a training."""
