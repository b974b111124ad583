"""A cluster without sockets: the real choice of parents and the real pacing of the registry, on a clock that is fed."""
