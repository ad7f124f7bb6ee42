"""Pure rules of the payment service: payments and their states, the ledger's words."""
