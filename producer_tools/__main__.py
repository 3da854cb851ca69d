"""``python -m producer_tools`` is the command ``producer-tools``."""

from producer_tools.cli import main

main()
