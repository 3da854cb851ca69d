"""Where the servers of the tests come from: given by URL, run by Docker, or embedded."""
