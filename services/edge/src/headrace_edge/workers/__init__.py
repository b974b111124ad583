"""More than one core: processes that serve a node's viewers side by side."""
