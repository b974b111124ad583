"""Carrying streams from node to node: the hub that every producer and consumer meets at, and the relay protocol."""
