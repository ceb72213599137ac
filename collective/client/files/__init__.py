"""Files as programs use them: the protocol, what answers it over any member, and what one file is while it is open."""
