"""Guards for frameworks that have hooks of their own. Where tools are functions, ``Guard.tool`` is enough."""
