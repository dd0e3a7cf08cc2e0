"""The Anthropic Messages ingress: what a client of the Messages API asks, and what its answers have it do, governed."""
