"""Use cases of the aggregator."""
