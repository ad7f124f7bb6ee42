"""Owns totals: derived from donation events, exact, rebuildable.

Exactness comes from one PostgreSQL transaction per batch of windows: applied ids, totals and donors together. Redis gets
absolute values with their version and refuses an older one, so it may be lost at any time.
"""
