"""Pure rules: states and their tables, what an amount must satisfy, what a checkout may offer.

Numbers of the enums are the contract's. Amounts are minor units.
"""
