"""A relay between Headrace nodes, blind to media."""
