"""Steps that hands claim for themselves, and what they return."""
