"""A stand-in for Anthropic's Messages API, on loopback: what tests call where a user's gateway calls the real one.

It is no recording of the service and no part of the product. Its answers are built from the types of the ``anthropic``
SDK, or are streams that Anthropic recorded for the SDK's own tests; its errors have the API's shape. It knows the
routes that clients use (messages, count_tokens, models, batches), checks what the API is known to check of a
conversation (:mod:`tests.anthropic_api.conversation`), and otherwise says what the test scripted, or fails loudly.
"""
