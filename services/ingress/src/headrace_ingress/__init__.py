"""Camera feeds in, packaged once as CMAF."""
