"""The catalogue's decisions on values: no database, no clock."""
