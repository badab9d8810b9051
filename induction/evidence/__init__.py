"""All that is known of a head, test by test, each with its interval, its control and the threshold it is held to."""

from induction.evidence.results import TESTS, Evidence, Line, Test
