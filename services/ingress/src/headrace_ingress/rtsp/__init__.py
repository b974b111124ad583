"""RTSP as a publisher speaks it to us (ANNOUNCE, RECORD): pure, bytes in, events out, bytes out."""
