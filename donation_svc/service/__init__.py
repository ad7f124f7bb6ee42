"""Use cases of the donation service."""
