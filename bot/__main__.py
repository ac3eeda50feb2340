"""`python -m bot` is `shoal`."""

from bot.cli.main import main

main()
