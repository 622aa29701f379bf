"""Live doors: sources and sinks behind a URI, with a position to go on from."""
