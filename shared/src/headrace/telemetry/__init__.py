"""What an operator sees of a process: log lines, metrics and the checks behind its probes."""
