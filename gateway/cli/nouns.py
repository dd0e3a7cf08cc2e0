"""The nouns of ``handrail NOUN VERB``, in the order of the help."""

from typing import Final

NOUNS: Final = {
    "serve": "Run the gateway.",
    "init": "Set a gateway's home up.",
    "demo": "Set up a gateway and play a demonstration on it.",
    "plan": "Sign, submit and show plans; save their receipts.",
    "run": "Have the gateway ask a model, with hands as its tools, until it is done.",
    "runs": "List, show and cancel runs.",
    "steps": "List steps that ended in doubt or did not reach their hand; retry and discard them.",
    "why": "Say why a step was decided as it was.",
    "approvals": "List, watch, show, approve and refuse held steps.",
    "verify": "Verify receipts and answers offline, from files alone.",
    "audit": "Query the log, take it out, and check it for tampering.",
    "log": "The log's checkpoints, proofs and witnesses.",
    "controls": "Evidence by control, access reviews, and the posture of a configuration.",
    "retention": "Archive and drop entries whose retention is over, and hold them.",
    "policy": "Check, build, try, propose, activate and roll back policy bundles.",
    "proposals": "List, show, activate and withdraw changes that take two people.",
    "freeze": "Stop a hand, a principal, a context or everything, at once.",
    "unfreeze": "Propose that a freeze be lifted, which takes two people.",
    "principals": "Add, list and revoke callers, and their security keys.",
    "issuers": "Add, list and revoke signers of plans.",
    "privacy": "See, erase and hold what is kept about a person.",
    "keys": "The gateway's keys, and new keys for clients.",
    "secrets": "Keep the secrets that hands and connections name; nothing shows their values.",
    "connections": "See, connect and take back services at which tools act as you.",
    "agents": "Agents that run at Anthropic: the policies that they need, and their sessions.",
    "hands": "List hands, pin and check them, and declare hands from files of others.",
    "mcp": "Serve clients of MCP that speak stdio.",
    "jail": "Run a program in a jail.",
    "doctor": "Say what is missing on this machine.",
    "config": "Print and check the configuration.",
    "backup": "Back the database up, check backups, and restore one under a new name.",
    "db": "Move the database to the newest schema.",
}
"""Noun -> its line in the list, and what its own help says. Its module is ``gateway.cli.NOUN`` with a Typer ``app``."""
