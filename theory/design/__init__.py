"""The best hyper-parameters for a spectrum of curvatures. Imports certificates, stability, systems and text; no torch."""
