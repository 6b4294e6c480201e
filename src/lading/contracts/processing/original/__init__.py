"""The original's Python interface, over ours: what ``lading-compat`` offers as ``task_api``.

Everything here blocks, as the original does, also inside a running event loop. Names, signatures
and what is written to logs are the original's; its defects are not.
"""
