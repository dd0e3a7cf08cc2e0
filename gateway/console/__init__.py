"""Pages for approvers: plain HTML that works without scripts, behind a login of its own."""
