"""``handrail policy``: evaluate and check policy bundles."""
