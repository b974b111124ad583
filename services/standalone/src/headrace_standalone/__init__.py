"""Every Headrace service in one process, and the headrace command."""
