"""The gateway's own keys: where they lie, who holds them, and what became of them."""
