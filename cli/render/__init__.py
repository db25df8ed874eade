"""What commands print. Imports results and theory; the only room with rich."""
