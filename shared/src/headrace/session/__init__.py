"""A node among nodes: links to parents and children, streams fetched on demand and served from their broadcasts."""
