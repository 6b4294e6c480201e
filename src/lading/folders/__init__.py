"""What the folders of all contracts have: a Dockerfile, findings, things to begin with.

Knows no contract.
"""
