"""Data: downloaded, kept and cut. Imports what a task is, and errors."""
