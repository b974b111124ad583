"""Headrace streams out to viewers."""
