"""Where private keys live."""
