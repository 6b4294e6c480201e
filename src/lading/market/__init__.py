"""Listings with fees, the ledger of what is owed, signed receipts.

Knows tasks by id and price only.
"""
