"""What everything else rests on: errors in plain words, progress of long work, results, intervals, names of heads."""

from induction.base.errors import (
    InputError,
    ModelUnavailable,
    Refused,
    chain,
    check_choice,
    check_seed,
    damaged,
    is_out_of_memory,
    too_large,
)
from induction.base.heads import Head, check_heads, head_name, parse_heads
from induction.base.intervals import (
    CONFIDENCE,
    ENOUGH,
    NEGLIGIBLE,
    Interval,
    expected_passes,
    mean_interval,
    ratio_interval,
    standard_error,
    wilson_interval,
)
from induction.base.packages import lazily, versions
from induction.base.progress import Progress, finish, finished, share
from induction.base.result import Gaps, Grid, Number, Part, Result, check_shape
