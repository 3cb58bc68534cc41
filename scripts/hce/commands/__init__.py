"""The subcommands of `hce`.

Each module has `add`, which declares the command's arguments, and `run`, which imports what it
needs only then, so that `hce --help` answers at once.
"""
