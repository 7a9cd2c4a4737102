"""The command `squall`: reads the command line, calls a stage, prints its result.

Owns flags, messages and exit codes; it does no work of a stage, and nothing imports it. Start
reading at `main.py`, which has the table of commands. A new command is a line of that table and a
module of the same name here, with ``EXAMPLES``, ``add_arguments`` and ``run``; its flags come from
the configuration of its stage (`options.py`).
"""
