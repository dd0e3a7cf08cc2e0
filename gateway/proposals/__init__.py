"""Changes that take several people: from the proposal to its effect."""
