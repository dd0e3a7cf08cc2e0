"""What keeps a failing or slow hand from doing more harm: retries, a circuit breaker, a limit of calls at once."""

from hand_adapters.resilience.guard import Guard, Observer

__all__ = ["Guard", "Observer"]
