"""What the user's program speaks, as pure parsers: bytes in, values out. No socket, no await, no clock."""
