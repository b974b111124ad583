"""Faults on real processes, and what viewers notice of them: `python -m chaos`, described in docs/chaos.md."""
