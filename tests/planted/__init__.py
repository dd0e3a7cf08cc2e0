"""Secrets that carry marks, and the search for them in everything that a run of the tests wrote."""
