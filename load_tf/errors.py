"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Something outside the code is wrong: a file, a value, a flag.

    The message is one sentence that names the offender, what was found and what was expected. Commands print it without
    a traceback and exit with status 2.
    """
