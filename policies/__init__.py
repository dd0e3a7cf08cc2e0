"""The shipped policies, as data: Rego by rule, and the mapping of entries to controls. No code lives here."""
