"""What the Anthropic Messages API says on the wire: its events, its blocks, a message put together. No I/O."""
