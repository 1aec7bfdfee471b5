"""The one exception that user mistakes raise: commands print its message and exit with a non-zero status."""


class InfoserError(Exception):
    """A mistake that the user can mend; the message says what is wrong, where, and what to do."""

    #: The exit status of a command that ends with it.
    status = 2
