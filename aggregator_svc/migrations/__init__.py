"""Tables of the aggregator."""
