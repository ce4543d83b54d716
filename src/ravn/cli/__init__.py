"""Words: one file per command, thin over the public functions."""

USAGE_ERROR, INTERRUPTED = 2, 130
"""Exit codes: of what a user can mend, and of Ctrl-C."""
