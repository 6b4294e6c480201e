"""Several tasks, each after those whose outputs it reads."""
