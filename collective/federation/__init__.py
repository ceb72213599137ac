"""Other members: who they are (``peers``), how they are reached (``links``), and their files (``files``).

Owns trust between members, each peer's own bounds, and a member elsewhere as
:class:`~collective.member.files.interface.Files`.  Refuses the catalogue's tables, and any decision about
rights: a call is decided where the path is, by the grants there.
"""
