"""Owns the truth about money: payments, the double-entry ledger, the provider, reconciliation.

Today it keeps the ledger, fed by the events of recorded donations. Whatever it has posted stays as it was posted.
"""
