"""For all tests: Ctrl-C works in the commands that they start.

A shell that starts a job with "&" has it ignore SIGINT, and what the job starts inherits that: tests which interrupt a
command would wait for ever.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
