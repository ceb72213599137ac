"""Names, versions, chunks, copies, nodes, grants, codes and audit, in SQL.

Owns every statement of SQL.  Refuses the network.  ``interface/`` is the promise, on
values of ``model``; ``decisions/`` decides, purely; ``sqlite/`` is the first engine.  One contract suite
runs against every engine.
"""
