"""``consumer replay``: parts of the topics, once more through the very same pipeline."""
