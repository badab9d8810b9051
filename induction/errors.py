"""The two exceptions that a user of the library, command line or page may meet."""


class InputError(ValueError):
    """The request cannot be carried out as given.

    The message is one plain sentence that says what is wrong and what to do
    about it; every surface shows it as it stands, without a traceback.
    """


class ModelUnavailable(InputError):
    """The weights of a model are neither on this machine nor reachable."""
