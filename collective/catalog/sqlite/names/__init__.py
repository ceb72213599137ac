"""The tree of names and its datastores: what lies where, what it counts for, how many copies it asks for."""
