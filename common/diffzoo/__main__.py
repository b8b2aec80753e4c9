"""`python -m diffzoo` is the `diffzoo` command."""

from diffzoo.cli import main

main()
