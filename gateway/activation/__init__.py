"""Policy in time: how bundles arrive, come into force, and go back."""
