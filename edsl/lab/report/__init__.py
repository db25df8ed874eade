"""Results as pages, pictures and logs. Imports results, races and theory."""
