"""Live video over a relay mesh: the library under every Headrace service."""
