"""Plans, approvals, principals, issuers and pins in the database."""
