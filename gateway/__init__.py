"""Handrail: a policy-and-governance gateway for AI agents. Read ``pipeline.py`` first."""
