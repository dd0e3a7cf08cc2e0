"""Clients of the Messages API as their users have them, directly at the stand-in and through a gateway.

What Claude Code 2.1.332 asks and does, which ``test_claude_code.py`` holds, and which a gateway between has to bear:

* It posts ``/v1/messages?beta=true``, about 49 KB, with some nine names in ``anthropic-beta`` and its key in
  ``x-api-key`` (``ANTHROPIC_AUTH_TOKEN``: as a bearer token). Unless told to leave out what is not essential it begins
  with ``HEAD /api/hello``, and bears any answer to that.
* Messages have the role ``system`` too, and ``output_config`` of their own. ``tools`` is no list of what may be called:
  a placeholder with ``defer_loading`` stands in it, the tool ``ToolSearch`` loads others, and its result is a
  ``tool_reference``.
* It runs a tool when its block is whole: it waits for no ``message_stop``, heeds no stop reason, and runs the tool as
  well when an ``error`` event follows. A block that a client must not act upon must never have been sent.
* When the connection breaks it asks the same again, or with what had come kept, as it happens to notice it. It asks the
  same again after an ``error`` event, without ``stream`` where some text had come; where a block of text was whole, it
  goes on after that with a word that the turn was cut off.
* It asks again after 429 and 529, once after 400, not after 403 or 413; a 404 makes it ask without ``stream``.
* A turn without a tool that stops with ``tool_use`` is told to call its tool again: who takes the last call out of a
  turn has to say ``end_turn``.
"""
