"""Services at which people let the gateway act for them: consent, their tokens, and how these stay good."""
