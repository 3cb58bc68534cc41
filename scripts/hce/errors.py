"""The error for mistakes that the user can correct."""


class UserError(Exception):
    """A mistake in a file, a config value or a command.

    The message is one sentence that names the file, key or value and says what to do;
    it is shown without a traceback.
    """
