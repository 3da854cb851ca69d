"""Dead letters: look at them, send them back once what was wrong is mended, or discard them.

A letter is read from the dead-letter topic and never moved: what became of it stands in a
compacted state topic beside it, ``<dead-letter topic>.redriven``.
"""
