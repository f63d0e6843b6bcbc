"""Packets in gRPC messages, as bytes: `decode` cuts through, `encode` puts headers around chunks; and field values."""
