"""Feeds in processes of their own: what is said between ingress and workers, and both ends of it."""
