"""What people may ask of what is held about them, and what is recorded of that processing."""
