"""Owns the truth about money: payments, the double-entry ledger, the provider, reconciliation.

A payment is recorded before the provider hears of it, and ends where the provider's own facts put it: answers and webhooks,
in any order, any number of times. The ledger is fed by payments and by the events of recorded donations; whatever it has
posted stays as it was posted.
"""
