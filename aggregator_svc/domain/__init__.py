"""Values and rules of totals: what events add, how a range of time is divided, what a rebuild begins with."""
