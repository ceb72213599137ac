"""Names, versions, chunks, copies, nodes, grants, codes and audit, in SQL.

Owns every statement of SQL.  Refuses the network.  ``interface.py`` is the promise, ``model.py`` its
values, ``sqlite/`` the first engine; one contract suite runs against every engine.
"""
