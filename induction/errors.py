"""The two exceptions that a user of the library, command line or page may meet."""


class InputError(ValueError):
    """The request cannot be carried out as given.

    The message is one plain sentence that says what is wrong and what to do
    about it; every surface shows it as it stands, without a traceback.
    """


class ModelUnavailable(InputError):
    """The weights of a model are neither on this machine nor reachable."""


class Refused(InputError):
    """A quantity that could not be verified on this model, so no number is given; all others still come."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in Python's words or torch's."""
    name = type(error).__name__
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or "not enough memory" in str(error)
