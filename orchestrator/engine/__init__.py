"""The corridor in asyncio: it takes events, applies the transition, commits, and carries out instructions."""
