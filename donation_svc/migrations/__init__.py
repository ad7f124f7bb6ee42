"""Tables of the donation service."""
