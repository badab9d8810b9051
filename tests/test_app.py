"""The page without a browser: what it imports, and what it launches."""

import subprocess
import sys


def test_first_paint_needs_neither_torch_nor_transformer_lens():
    code = (
        "import app, sys; heavy = {'torch', 'transformer_lens', 'transformers'} & set(sys.modules); "
        "assert app.demo.fns; assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
