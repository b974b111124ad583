"""Connections between nodes: WebSocket channels, dialled or accepted, and how long to wait before the next try."""
