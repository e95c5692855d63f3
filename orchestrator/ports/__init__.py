"""Every doorway of the house as a Protocol: what a room may ask of another without knowing who answers."""
