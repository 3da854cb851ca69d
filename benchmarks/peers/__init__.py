"""The floor and the peers: programs that run in an environment of their own."""
