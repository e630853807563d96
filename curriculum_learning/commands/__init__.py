"""What a person runs: one module per command, with a function ``run`` that returns its exit code.

The wing owns the arguments, what is computed for a person to look at, and how it is shown.
It reads plans and states of the wings below, and changes nothing in them.
No other wing imports it.
"""
