"""RTMP as a publisher speaks it to us: pure, bytes in, events out, bytes out."""
