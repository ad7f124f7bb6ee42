"""The event log, dead letters and leases that every service's schema begins with."""
