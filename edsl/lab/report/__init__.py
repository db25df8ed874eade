"""What a race leaves to read: one HTML page, pictures, and tables for other programs."""
