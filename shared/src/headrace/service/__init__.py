"""What every service has: its settings, its command line, and the way it begins and ends."""
