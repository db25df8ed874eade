"""The best hyper-parameters for a spectrum of curvatures. Imports stability, systems and text; no torch."""
