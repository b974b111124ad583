"""The objects of every service, built in one process."""
