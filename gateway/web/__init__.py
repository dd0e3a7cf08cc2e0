"""The ASGI application: middleware, routes, the error table."""
