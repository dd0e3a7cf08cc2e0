"""Secrets that hands name: kept in stores, put into requests by the broker, and known to nobody else."""
