"""HTTP servers as every service has them: probes, metrics, errors, headers, and a listener that says where it is."""
