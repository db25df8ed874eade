"""What runs a race: here, in processes, on a cluster. Imports results, races and trials."""
