"""OpenAPI 3.0, 3.1 and 3.2 documents: read strictly, and turned into actions with schemas and exact requests."""
