"""What a program uses: open, read, write and list one member's files, over any route.

The way in is ``collective.client.collective.Collective``; this package imports nothing by itself,
so that a command that needs a part of it pays for that part only.
"""
