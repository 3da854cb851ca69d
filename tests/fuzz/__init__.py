"""Random and damaged records against everything that is done with one before any I/O."""
