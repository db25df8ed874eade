"""Many trials, compared fairly. Imports trials and what is below them."""
