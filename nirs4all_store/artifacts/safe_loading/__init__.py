"""Loads pickles from elsewhere safely: lists what they would import, and loads them with only names that are allowed.

Why it is done in this way: docs/decisions/0009.
"""
