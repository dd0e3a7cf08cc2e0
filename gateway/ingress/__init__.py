"""Everything that turns a caller's request into an ``UnverifiedPlan``."""
