"""Honest stand-ins for the services outside of the mesh, each as Stripe's servers are: with books that survive kill -9."""
