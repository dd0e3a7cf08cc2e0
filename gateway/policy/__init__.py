"""Policy engines behind ``ports.PolicyEngine``, and the bundles that they load."""
