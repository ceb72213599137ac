"""Makes the parts of the documentation that stand in code: reference pages, and the picture of the terminal.

A page is text made from what the program itself uses (its commands, settings, metrics, protos, classes), so
nothing is said twice.  Making them starts no process and opens no connection.
"""
