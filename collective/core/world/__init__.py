"""The world: everything that a process reaches outside of itself, in one object made in ``main``.

Nothing else in the package asks the machine for the time, for chance, for a file or for a thread
(``tests/lint/world.py`` sees to it).  The network is made over it (``rpc/links.py``); timers are the
event loop's, and the loop is chosen where the world is.
"""

from collective.core.world.model import Sqlite, World
from collective.core.world.real import real_world
from collective.core.world.threads import InlineThreads, OsThreads, Pool, Runs, Threads

__all__ = ["InlineThreads", "OsThreads", "Pool", "Runs", "Sqlite", "Threads", "World", "real_world"]
