-- Which starts of the process this catalogue has been through, to tell it from a lost future of its own.

CREATE TABLE former_lives (   -- those that ended, the newest 10,000; the present one is state.instance
    number INTEGER PRIMARY KEY,   -- in their order
    life TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,       -- where it ended
    sequence INTEGER NOT NULL
) STRICT;

CREATE TABLE lost_lives (     -- of futures that this catalogue lost, and was restored for; the newest 10,000
    number INTEGER PRIMARY KEY,
    life TEXT NOT NULL UNIQUE     -- also a former one, of what it did beyond its end here
) STRICT;
