"""The corridor in asyncio: admits, submits, watches, transfers and settles slices; decides nothing that core
can decide."""
