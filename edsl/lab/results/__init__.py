"""What races come to: statistics and tables. Imports races and trials."""
