"""People's answers to held steps."""
