"""A faithful stand-in for Baidu Log Service: the newcomer's demo, and the test double that checks our
promises.

``world`` and what it stands on are pure: they take ``now`` as an argument. ``http`` serves a world over
aiohttp, ``inprocess`` offers the same world through the ports, without sockets.
"""
