"""Steps that clients run themselves: what is reported of them."""
