"""What the services say to each other: commands, events, topics, ids and error codes.

Nothing here does I/O. Commands are imperative and ask one service for one effect; events are past tense
and tell everyone what happened. Both are frozen and travel as JSON through `sluice_contracts.wire`.
"""
