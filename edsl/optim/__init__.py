"""torch.optim.Optimizer around a pipeline: state, checkpoints. Imports engine and what is below it."""
