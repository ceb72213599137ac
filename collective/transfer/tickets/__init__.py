"""Tickets, receipts and other words under the keys that hops share."""
