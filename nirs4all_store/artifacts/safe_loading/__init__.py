"""Pickles from strangers: what they would import is listed, and they load with nothing but what is allowed."""
