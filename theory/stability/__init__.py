"""For which curvatures a pipeline is stable, and pictures of it. Imports systems and text; no torch."""
