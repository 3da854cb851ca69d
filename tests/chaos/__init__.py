"""Real processes and servers, harmed on purpose for a while, and every document compared after."""
