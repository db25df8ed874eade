"""Checkpoints of torch.optim as edsl's, and back. Imports the optimizer's room, and the language."""
