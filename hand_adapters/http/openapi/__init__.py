"""OpenAPI 3.0 and 3.1 documents: read strictly, and turned into actions with schemas and exact requests."""
