"""For all tests: SIGINT works in the commands that they start.

A shell starts background jobs ("&") with SIGINT ignored, and their children inherit that: tests that interrupt a
command would hang.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
