"""The escape battery: what a hostile hand tries first (``table.py``), outside the jail and inside it."""
