"""The paper's claims, each tried by a file of its own."""
