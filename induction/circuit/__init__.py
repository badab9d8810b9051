"""What feeds a head: composition and copying of weights, path patching, and the circuit put together."""

from induction.base import lazily

__getattr__ = lazily(
    __name__,
    trace=("circuit", "iter_circuit"),
    paths=("iter_path_patch", "path_patch"),
)
