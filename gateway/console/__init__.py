"""Pages for approvers and auditors."""
