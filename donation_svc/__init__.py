"""Owns charities, campaigns and donations: what was promised, by whom, and where it stands.

Money that a checkout has already taken is recorded here and counts at once. What a donation counts for leaves as events.
"""
