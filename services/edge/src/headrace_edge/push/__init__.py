"""Pushes: streams of this cluster made to appear on other servers, each carried by one edge at a time."""
