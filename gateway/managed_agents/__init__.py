"""Claude Managed Agents: sessions that run at Anthropic, followed, and each of their tool calls decided here."""
