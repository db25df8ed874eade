"""What a pipeline costs: state, memory, traffic. Imports optim and what is below it."""
