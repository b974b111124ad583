"""HLS and DASH: the stream by HTTP, under names that every edge answers alike."""
