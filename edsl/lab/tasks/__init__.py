"""What is trained: data, model and loss, a file each. Imports data, models and landscapes."""
