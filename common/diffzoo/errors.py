"""The error a person can mend: bad input or wrong usage."""


class InputError(ValueError):
    """Bad input or usage, in one line: what is wrong and what to do; the command line prints it and exits with code 2."""
