"""What holds for every smooth strongly convex function, and functions where it fails. Imports systems; no torch."""
