"""From access units to CMAF: headers, chunks, segments and the timeline, minted once at ingest."""
