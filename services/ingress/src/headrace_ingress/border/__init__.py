"""Streams that come from another cluster, or under another name from this one: their chunks go on as they are."""
