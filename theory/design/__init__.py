"""The best hyper-parameters for a spectrum. Imports certificates, stability, systems and text; no torch."""
