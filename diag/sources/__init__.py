"""The only room that asks systems under diagnosis. Each source: `connect`, and one function per fact type."""
