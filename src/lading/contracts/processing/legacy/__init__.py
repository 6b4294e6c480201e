"""Migrating legacy containers: what an image reads is found out, and a folder written that runs it."""
