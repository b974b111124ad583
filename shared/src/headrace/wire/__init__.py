"""What travels between nodes and to players, as bytes: pure encoding and decoding (docs/protocol.md)."""
