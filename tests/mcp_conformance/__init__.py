"""The conformance suite of the Model Context Protocol, against a server directly and through the gateway."""
