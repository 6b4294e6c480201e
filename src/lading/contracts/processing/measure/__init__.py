"""What a run needed: against its limits and rules, and over several sizes of its input."""
