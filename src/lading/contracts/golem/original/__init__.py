"""What only the names of the original have: services that start an application, and its tools.

Applications get this by ``import golem_task_api``; new ones have no need of it.
"""
