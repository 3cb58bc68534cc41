"""The subcommands of `hce`.

Each module has `add`, which declares the arguments of the command, and `run`, which runs it.
Imports are inside `run`, so that `hce --help` is fast.
"""
