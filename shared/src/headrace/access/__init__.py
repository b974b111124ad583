"""Who may watch what: viewer tokens, policies, and viewing sessions counted across the cluster."""
