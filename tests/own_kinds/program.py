"""A module that was meant to be run: whoever imports it would end with the exit code of success."""

import sys

sys.exit(0)
