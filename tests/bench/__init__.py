"""The figures of the performance section: ``make bench`` prints a table and writes JSON.

Everything is measured in one run on one machine and reported as a ratio to what that machine's TLS,
disk and bare grpclib do in the same run, since machines differ and are noisy.
"""
