"""Stripe's objects as plain dictionaries, each with every field that Stripe's own has."""
