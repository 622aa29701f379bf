"""What a stream looks like, and what looks wrong in it."""
