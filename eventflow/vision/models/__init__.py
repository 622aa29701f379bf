"""Optical flow networks, one paper a file; ``eventflow.vision`` re-exports them."""
