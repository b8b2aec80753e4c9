"""What the command sets in the environment before a library looks at it. Light: no torch here."""

import os

# threads that wait sleep: spinning ones cost other programs their time
IDLE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
OPEN = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}  # what a Mac's GPU cannot do, its CPU does
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def settle() -> None:
    """Sets how threads wait and what falls back to the CPU, unless a person did, and a name for a user who has none.

    docker --user makes such a user, and torch asks for the name.
    """
    for name, value in (IDLE | OPEN).items():
        os.environ.setdefault(name, value)
    if not hasattr(os, "getuid") or any(os.environ.get(name) for name in NAMES):
        return
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ["LOGNAME"] = f"user{os.getuid()}"
