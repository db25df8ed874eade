"""The models that tasks train. Imports errors alone."""
