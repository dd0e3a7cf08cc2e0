"""The ``handrail`` command: one file per noun."""
