"""The paper's claims, measured. Imports all of the lab, and theory."""
